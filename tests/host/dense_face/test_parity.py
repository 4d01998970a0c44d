"""The release's own numbers through the whole host: MODEL, CONTROL_NET, guider and sampler.

The fixture (tests/data/parity) holds outputs of the authors' classes on a small random network.
Its conditionings are given as tensors, so everything after the text encoder is under test.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from locate_host import PARITY
from safetensors.torch import load_file
from torch import Tensor

TOLERANCE = 1e-4
SCALE = 0.18215
ADAPTER_MAPS = ("per_q", "per_k", "per_v", "feat_to_q")


class Release:
    """The fixture's network as objects of the host."""

    def __init__(self, tiny: Tiny) -> None:
        self.tiny = tiny
        self.forward = load_file(PARITY / "forward.safetensors")
        self.sampler = load_file(PARITY / "sampler.safetensors")
        weights = load_file(PARITY / "weights_fp16.safetensors")
        unet = _part(weights, "model.diffusion_model.")
        self.own = {k: t for k, t in unet.items() if k.split(".")[-2] in ADAPTER_MAPS}
        base = {k: t.float() for k, t in unet.items() if k not in self.own}
        heads = json.loads((PARITY / "config.json").read_text())["net"]["num_heads"]
        branch = _part(weights, "control_model.")
        with torch.inference_mode():
            self.model = tiny.module("nodes.host.tiny.tiny_sd").build_model(base, heads)
            self.control = tiny.module("nodes.host.dense_face.control").pose_control(branch)

    def fused(self) -> Any:
        """The adapter in its fused form."""
        own = {k: t.float() for k, t in self.own.items()}
        return self.tiny.module("dense_face.adapter").PCAdapter.from_state_dict(own).fuse()

    def adapted(self, delta: float, vectors: Tensor, mode: str, fused: Any = None) -> Any:
        """The MODEL with the adapter at one strength; the fixture's own if none is given."""
        fused = replace(fused or self.fused(), delta=delta)
        adapter = self.tiny.module("nodes.sockets").LoadedAdapter("fixture", fused, None, "")
        identity = self.tiny.module("faces.identity").Identity
        people = tuple(identity(vector, "ir-se50") for vector in vectors)
        people = self.tiny.module("nodes.sockets").People(people)
        return self.tiny.apply(self.model, people, adapter=adapter, mode=mode)

    def posed(
        self, positive: Any, negative: Any, hint: Tensor, control: Any = None
    ) -> tuple[Any, Any]:
        """Conditionings with a pose branch (the fixture's), applied by the host's own node."""
        import nodes

        image = hint.float().movedim(1, -1) / 255
        apply = nodes.ControlNetApplyAdvanced().apply_controlnet
        return apply(positive, negative, control or self.control, image, 1.0, 0.0, 1.0)

    @cached_property
    def sampling(self) -> Any:
        return self.model.get_model_object("model_sampling")

    def eps(self, model: Any, positive: Any, negative: Any) -> Tensor:
        """Predicted noise of the fixture's batch, as the sampler's first call sees it."""
        import comfy.samplers

        x = self.forward["in.x"].float()
        sigma = self.sampling.sigma(self.forward["in.t"])
        y = x * (sigma**2 + 1).sqrt().view(-1, 1, 1, 1)
        seen: list[Tensor] = []

        def evaluate_once(net: Any, start: Tensor, *_: Any, extra_args: Any, **__: Any) -> Tensor:
            clean = net(y, sigma, **extra_args)
            seen.append((y - clean) / sigma.view(-1, 1, 1, 1))
            return start

        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        with torch.inference_mode():
            empty = torch.zeros_like(x)
            levels = torch.tensor([float(sigma[0]), 0.0])
            guider.sample(empty, empty, comfy.samplers.KSAMPLER(evaluate_once), levels, seed=0)
        return seen[0]


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _conds(context: Tensor) -> list[Any]:
    return [[context.float(), {}]]


@pytest.fixture(scope="module")
def release(tiny: Tiny) -> Release:
    return Release(tiny)


def test_text_editing_mode(release: Release) -> None:
    context = _conds(release.forward["in.context"])
    eps = release.eps(release.model, context, context)
    assert difference(eps, release.forward["eps.text_editing"]) < TOLERANCE


@pytest.mark.parametrize("mode", ["weights", "runtime"])
@pytest.mark.parametrize("delta", [0.01, 1.0])
@pytest.mark.parametrize("name", ["id_nopose", "face"])
def test_face_generation_mode(release: Release, name: str, delta: float, mode: str) -> None:
    context = _conds(release.forward["in.context"])
    conds = (context, context)
    if name == "face":
        conds = release.posed(*conds, release.forward["in.hint_rgb_u8"])
    model = release.adapted(delta, release.forward["in.id"], mode)
    golden = release.forward[f"eps.{name}.d{delta:g}"]
    assert difference(release.eps(model, *conds), golden) < TOLERANCE


@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_converted_file(release: Release, tmp_path: Path, mode: str) -> None:
    """The fixture's weights bear the release's names: converted, they give the same output."""
    module, path = release.tiny.module("dense_face.checkpoints.convert"), tmp_path / "a.safetensors"
    plan = module.Plan(path, dtype=torch.float32)
    module.convert(PARITY / "weights_fp16.safetensors", plan)
    load = release.tiny.module("nodes.host.dense_face.adapter_file").load_parts
    with torch.inference_mode():
        fused, token, control, encoder = load(path)
    assert token is None and encoder == "ir-se50"
    context = _conds(release.forward["in.context"])
    conds = release.posed(context, context, release.forward["in.hint_rgb_u8"], control)
    for delta in (0.01, 1.0):
        model = release.adapted(delta, release.forward["in.id"], mode, fused)
        golden = release.forward[f"eps.face.d{delta:g}"]
        assert difference(release.eps(model, *conds), golden) < TOLERANCE


@pytest.mark.parametrize("mode", ["weights", "runtime"])
@pytest.mark.parametrize(
    ("run", "delta", "eta"), [("d1", 1.0, 1.0), ("ref", 0.01, 1.0), ("eta0", 0.01, 0.0)]
)
def test_blended_sampler(release: Release, run: str, delta: float, eta: float, mode: str) -> None:
    import comfy.sample
    import comfy.samplers

    golden = release.sampler
    sampling = release.tiny.module("nodes.host.dense_face.sampling")
    noises = iter([golden[f"noise.{i:02d}"] for i in range(2, 12)])
    as_released = sampling.Blending(eta, clean_end=False)
    sampler = comfy.samplers.KSAMPLER(
        sampling.sample_blended, {"blending": as_released, "draw": lambda: next(noises)}
    )
    sigmas = comfy.samplers.calculate_sigmas(release.sampling, "ddim_uniform", 5)
    assert torch.equal(release.sampling.timestep(sigmas[:-1]).long(), golden[f"{run}.timesteps"])
    hint = release.forward["in.hint_rgb_u8"][:1]  # pose_4, as hint_index says
    positive, negative = release.posed(
        _conds(golden["in.context"]), _conds(golden["in.uncond_context"]), hint
    )
    model = release.adapted(delta, golden["in.id"], mode)
    with torch.inference_mode():
        latent = comfy.sample.sample_custom(
            model, golden["noise.01"], 4.0, sampler, sigmas, positive, negative,
            golden["in.x0_before_scale"].float(), noise_mask=1 - golden["in.mask"],
            disable_pbar=True, seed=0,
        )  # fmt: skip
    assert difference(latent * SCALE, golden[f"{run}.out"]) < TOLERANCE
