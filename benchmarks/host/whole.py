"""Memory of blended generation end to end: ours, and the authors' way.

Ours: an ordinary half-precision checkpoint by the host's loader, and a converted adapter file.
Theirs: one float32 file with UNet, adapter, pose branch, VAE, text encoder and face encoder, all
of it read and then copied into the networks (docs/reference/dense_face.md A10, C1.10).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ...state_dict import without_prefix
from ..tiny_world import ROOT
from .steps import step
from .world import FULL, World, guider, random_pose_branch, with_control

OURS_WHOLE = "blended generation, ours"
OURS_HALF = "blended generation, ours, under the host's --fp16-unet"
AUTHORS_WHOLE = "blended generation, the authors' way"
LAYOUT = ROOT / "tests" / "data" / "parity" / "sd15_layout.json"
UNET, CONTROL, TOKEN = "model.diffusion_model.", "control_model.", "embedding_manager."
BASE = "sd15_frozen"


@contextmanager
def written() -> Iterator[tuple[Path, Path, Path]]:
    """A full-size base checkpoint, converted adapter and release file with random values."""
    from safetensors.torch import save_file

    from ...dense_face.checkpoints.convert import Plan, convert

    with tempfile.TemporaryDirectory() as folder:
        names = ("base.safetensors", "adapter.safetensors", "release.ckpt")
        base, adapter, release = (Path(folder) / name for name in names)
        tensors, of_base = _random_release()
        torch.save({"state_dict": tensors}, release)
        half = {name: tensors[name].half() for name in of_base}
        save_file(half, base)
        del tensors, half
        convert(release, Plan(adapter))
        yield base, adapter, release


def _random_release() -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a release, and the names of the base's numbers among them."""
    layout = json.loads(LAYOUT.read_text())
    tensors, of_base = {}, []
    for name, (shape, dtype, origin) in layout.items():
        tensor = torch.zeros(shape, dtype=getattr(torch, dtype))
        if len(shape) > 1 and tensor.is_floating_point():
            bound = tensor[0].numel() ** -0.5
            tensor.uniform_(-bound, bound)
        elif name.endswith(("weight", "running_var")):
            tensor.fill_(1)
        tensors[name] = tensor
        if origin == BASE and tensor.is_floating_point():
            of_base.append(name)
    return tensors, of_base


def run_ours(base: Path, adapter: Path) -> object:
    """Two blended steps in the host with VAE and text encoder; returns what must stay alive."""
    import comfy.samplers
    import comfy.sd

    from ...nodes.dense_face.adapter import ApplyAdapter
    from ...nodes.host.dense_face.adapter_file import load_parts
    from ...nodes.host.dense_face.sampling import Blending, blended_sampler
    from ...nodes.host.dense_face.text import encode_prompt, encode_with_identity
    from ...nodes.sockets import LoadedAdapter

    world = World(FULL)
    with torch.inference_mode():
        model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(base))
        fused, token, control, encoder = load_parts(adapter)
        assert token is not None
        loaded = LoadedAdapter("random", fused, token, encoder)
        people = world.people
        prompt = encode_with_identity(clip, "a close-up photo of *", token(people.vectors))
        texts = (prompt, encode_prompt(clip, ""))
        posed = with_control(texts, control, world.pose_image)
        face = ApplyAdapter.execute(model, loaded, people, 1.0, 0.0, 1.0, "auto").result[0]
        side = 8 * FULL.side
        latent = vae.encode(torch.rand(1, side, side, 3))
        mask = torch.zeros(1, 1, FULL.side, FULL.side)
        mask[..., 8:24, 8:24] = 1
        levels = comfy.samplers.calculate_sigmas(
            face.get_model_object("model_sampling"), "ddim_uniform", 2
        )
        noise = torch.randn_like(latent)
        sampled = guider(face, posed).sample(
            noise, latent, blended_sampler(Blending()), levels, mask, disable_pbar=True, seed=0
        )
        vae.decode(sampled)
    return model, clip, vae, loaded, control


def run_authors(release: Path) -> object:
    """Two steps of the authors' way with the whole file in memory; returns what must stay alive."""
    from ...nodes.host.dense_face.control import pose_control
    from .rivals import authors_model, authors_pose

    state: Mapping[str, Tensor] = torch.load(release, weights_only=True)["state_dict"]
    world = World(FULL, fill=False)
    world.model.model.diffusion_model.load_state_dict(without_prefix(state, UNET), strict=False)
    world.adapter.load_state_dict(without_prefix(state, UNET), strict=False)
    branch = random_pose_branch(FULL)
    branch.load_state_dict(without_prefix(state, CONTROL))
    control = pose_control(branch.state_dict())
    del branch
    mine = (UNET, CONTROL)
    rest = {k: t.clone() for k, t in state.items() if not k.startswith(mine)}
    del state
    model = authors_model(world.model, world.adapter, world.people.vectors)
    kept = (world, rest, control)
    conds = with_control(world.text, authors_pose(control), world.pose_image)
    step(guider(model, conds), FULL.side)
    return kept
