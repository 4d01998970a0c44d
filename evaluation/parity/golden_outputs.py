"""Recomputes the golden values of a parity fixture.

The networks are built from the fixture's weights with the pipelines' code: the UNet by
diffusers with the adapter's attention processors; pose branch, identity token, schedule, blending
and pose images by ``dense_face``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from ...dense_face.adapter import PCAdapter
from ...dense_face.blending import Step, area_resize, blended_ddim, guided
from ...dense_face.checkpoints.adapter_file import ADAPTER_PREFIX, POSE_PREFIX, TOKEN_PREFIX
from ...dense_face.identity_token import IdentityToken
from ...dense_face.pose_branch import PoseBranch
from ...dense_face.pose_image import axis_ends, pose_image
from ...dense_face.schedule import DDIMSchedule, ddim_schedule
from ...errors import IncompatibleError
from ...pipelines.attention import InstalledAdapter, layers_for
from ...pipelines.guided import as_unet_arguments
from ...pipelines.layout import UNetLayout, VAELayout
from ...pipelines.ldm import attention_blocks, unet_from_ldm, unet_to_ldm, vae_to_ldm
from ...state_dict import without_prefix
from .fixture import Fixture
from .release_mask import release_mask

_GUIDANCE = 4.0
_LATENT_SCALE = 0.18215
_TOKEN_WEIGHTS = f"tok.w.{TOKEN_PREFIX}"
_ADAPTER_MAPS = (".per_q.", ".per_k.", ".per_v.", ".feat_to_q.")

Named = Iterator[tuple[str, Tensor]]


class _Networks:
    """UNet, adapter, pose branch and identity token of a fixture."""

    def __init__(self, fixture: Fixture) -> None:
        self.unet = UNet2DConditionModel(**fixture.layout.diffusers_kwargs()).eval()
        where = str(fixture.folder)
        self.unet.load_state_dict(unet_from_ldm(fixture.weights, self.unet, where=where))
        maps = {
            name: tensor
            for name, tensor in fixture.part(ADAPTER_PREFIX).items()
            if any(kind in name for kind in _ADAPTER_MAPS)
        }
        self.adapter = PCAdapter.from_state_dict(maps)
        if self.adapter.layers != tuple(layers_for(self.unet)):
            raise IncompatibleError("the adapter's layers are not those of the UNet", where=where)
        self.pose_branch = PoseBranch.from_state_dict(fixture.part(POSE_PREFIX)).eval()
        self.token = IdentityToken.from_state_dict(
            without_prefix(fixture.forward, _TOKEN_WEIGHTS),
            reference_delta=fixture.reference_delta,
        )

    def eps(
        self, x: Tensor, t: Tensor, context: Tensor, residuals: list[Tensor] | None = None
    ) -> Tensor:
        """Predicted noise, with the installed adapter if there is one."""
        more = {} if residuals is None else as_unet_arguments(residuals)
        return self.unet(x, t, context, **more).sample

    def posed(self, given: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Encoded hints and pose residuals for the forward inputs."""
        hint = self.pose_branch.encode_hint(given["in.hint_rgb_u8"].float() / 255)
        return hint, self.pose_branch.residuals(given["in.x"], hint, given["in.t"])


def _attention(fixture: Fixture, networks: _Networks) -> Named:
    """Single attentions and the whole transformer block, plain and with the adapter."""
    given = fixture.forward
    hidden, context = given["attn.in.h"], given["in.context"]
    transformer = attention_blocks(networks.unet)[fixture.block]
    block = networks.unet.get_submodule(f"{transformer}.transformer_blocks.0")
    attn1, attn2 = block.get_submodule("attn1"), block.get_submodule("attn2")
    yield "attn.attn1.plain", attn1(hidden)
    yield "attn.attn2.plain", attn2(hidden, context)
    yield "attn.block.plain", block(hidden, encoder_hidden_states=context)
    for delta in fixture.deltas:
        with InstalledAdapter(networks.unet, networks.adapter, given["in.id"], delta) as installed:
            yield f"attn.attn1.d{delta:g}", attn1(hidden)
            yield f"attn.attn2.face.d{delta:g}", attn2(hidden, context)
            face = block(hidden, encoder_hidden_states=context)
            yield f"attn.block.face.d{delta:g}", face
            installed.identity = None
            yield f"attn.attn2.noid.d{delta:g}", attn2(hidden, context)


def _pose(fixture: Fixture, networks: _Networks) -> Named:
    """Hint encoder and pose residuals; the goldens hold the first sample only."""
    hint, residuals = networks.posed(fixture.forward)
    yield "pose.guided_hint", hint[:1]
    for index, residual in enumerate(residuals):
        yield f"pose.out.{index}", residual[:1]


def _eps(fixture: Fixture, networks: _Networks) -> Named:
    """The predicted noise in each mode."""
    given = fixture.forward
    x, t, context = given["in.x"], given["in.t"], given["in.context"]
    _, residuals = networks.posed(given)
    yield "eps.text_editing", networks.eps(x, t, context)
    for delta in fixture.deltas:
        with InstalledAdapter(networks.unet, networks.adapter, given["in.id"], delta) as installed:
            yield f"eps.face.d{delta:g}", networks.eps(x, t, context, residuals)
            yield f"eps.id_nopose.d{delta:g}", networks.eps(x, t, context)
            installed.identity = None
            yield f"eps.pose_noid.d{delta:g}", networks.eps(x, t, context, residuals)


def _token(fixture: Fixture, networks: _Networks) -> Named:
    """Token embeddings with the identity: batch of two, batch of one, and unconditional."""
    given, token, star = fixture.forward, networks.token, fixture.placeholder_id
    embeds, ids, identity = given["tok.embeds_in"], given["tok.ids"], given["in.id"]
    yield "tok.embeds_face", token.replace(embeds, ids, star, identity)
    yield "tok.embeds_face_b1", token.replace(embeds[:1], ids[:1], star, identity[:1])
    yield "tok.embeds_uncond", token.replace(embeds, ids, star, None)


def _sampler_run(run: str, eta: float, full: bool, fixture: Fixture, networks: _Networks) -> Named:
    """One blended generation with the fixture's noises; step details only for ``ref``."""
    given = fixture.sampler
    delta = fixture.deltas[full]
    mask = 1 - given["in.mask"]  # fixtures keep the release's polarity
    image = fixture.image(f"pose_{int(given['in.hint_index'])}.png").permute(2, 0, 1)[None]
    hint = networks.pose_branch.encode_hint(image.float() / 255)
    contexts = torch.cat([given["in.uncond_context"], given["in.context"]])
    schedule = ddim_schedule(len(given[f"{run}.timesteps"]), eta)
    noises = iter([given[name] for name in sorted(given) if name.startswith("noise.")])
    next(noises)  # the reference draws one and discards it
    halves: list[tuple[Tensor, Tensor]] = []
    steps: list[Step] = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        # Both halves have the same latent, timestep and hint: the branch runs once.
        once = networks.pose_branch.residuals(x, hint, t[None])
        twice = [residual.repeat(2, 1, 1, 1) for residual in once]
        uncond, cond = networks.eps(x.repeat(2, 1, 1, 1), t, contexts, twice).chunk(2)
        halves.append((uncond, cond))
        return guided(uncond, cond, _GUIDANCE)

    x0 = _LATENT_SCALE * given["in.x0_before_scale"]
    with InstalledAdapter(networks.unet, networks.adapter, given["in.id"], delta):
        yield (
            f"{run}.out",
            blended_ddim(model, x0, mask, schedule, lambda: next(noises), callback=steps.append),
        )
    for step, (uncond, cond) in zip(steps, halves, strict=True):
        name = f"{run}.step{step.index}."
        yield name + "model_in", step.model_in
        if run == "ref":
            yield name + "eps_uncond", uncond
            yield name + "eps_cond", cond
            yield name + "pred_x0", step.x0
    yield f"{run}.timesteps", schedule.timesteps.flip(0)
    yield f"{run}.ddim_sqrt_one_minus_alphas", (1 - schedule.alphas).sqrt()
    for name, table in _schedule(f"{run}.", "ddim_", schedule):
        if not name.endswith("timesteps"):
            yield name, table


def _schedule(run: str, prefix: str, schedule: DDIMSchedule) -> Named:
    for name in ("timesteps", "alphas", "alphas_prev", "sigmas"):
        yield f"{run}{prefix}{name}", getattr(schedule, name)


def _mask(fixture: Fixture, networks: _Networks) -> Named:
    """The release's mask on the latent grid, before and after the threshold."""
    image = fixture.mask().float()
    height, width = fixture.sampler["in.mask"].shape[-2:]
    yield "in.mask_raw", area_resize(image, height, width).round() / 255
    yield "in.mask", release_mask(image / 255, height, width)


def _long_schedule(fixture: Fixture, networks: _Networks) -> Named:
    """The release's own grid."""
    return _schedule("ddim50_eta1.", "", ddim_schedule(50, 1.0))


def _images(fixture: Fixture, networks: _Networks) -> Named:
    """Line ends and pixels of the pose images."""
    for index, (angles, _) in enumerate(fixture.poses()):
        yield f"pose_{index}.ends", torch.tensor(axis_ends(*angles))
        yield f"pose_{index}.png", torch.from_numpy(pose_image(*angles))


def _layout(fixture: Fixture, networks: _Networks) -> Named:
    """Names and shapes of a full-size model, built on the meta device."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**UNetLayout().diffusers_kwargs())
        vae = AutoencoderKL(**VAELayout().diffusers_kwargs())
        ours: list[tuple[str, nn.Module]] = [
            (ADAPTER_PREFIX, PCAdapter(layers_for(unet))),
            (POSE_PREFIX, PoseBranch()),
            (TOKEN_PREFIX, IdentityToken()),
        ]
    tensors = unet_to_ldm(unet) | vae_to_ldm(vae)
    for prefix, module in ours:
        tensors |= {prefix + name: tensor for name, tensor in module.state_dict().items()}
    for name, tensor in tensors.items():
        yield f"sd15_layout/{name}", torch.tensor(tensor.shape, dtype=torch.int64)


PARTS: dict[str, Callable[[Fixture, _Networks], Named]] = {
    "in.mask": _mask,
    "ddim50_eta1.": _long_schedule,
    "pose_": _images,
    "sd15_layout/": _layout,
    "attn.": _attention,
    "pose.": _pose,
    "eps.": _eps,
    "tok.": _token,
    "ref.": partial(_sampler_run, "ref", 1.0, False),
    "d1.": partial(_sampler_run, "d1", 1.0, True),
    "eta0.": partial(_sampler_run, "eta0", 0.0, False),
}
"""Name prefix of goldens -> what computes them; cheap ones first."""


def outputs(fixture: Fixture, prefixes: Iterable[str] = tuple(PARTS)) -> Named:
    """Name and value of each output of the selected parts (keys of ``PARTS``)."""
    networks = _Networks(fixture)
    for prefix in prefixes:
        yield from PARTS[prefix](fixture, networks)
