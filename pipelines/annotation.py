"""The annotation head on a diffusers UNet: the hooked modules, and annotating images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..dense_face.annotation.annotations import Annotations, decode, mean_annotations, mirrored
from ..dense_face.annotation.head import AnnotationHead, HeadConfig
from ..dense_face.blending import Model
from ..dense_face.feature_hooks import capture_features
from ..dense_face.schedule import alphas_cumprod
from ..errors import InputError
from .base import Base
from .layout import UNetLayout
from .sampling import seeded_noise
from .text import encode_text, token_ids

LIGHT_NOISE = 1
"""The timestep at which finished images are annotated."""
_AT_ONCE = 32


def stage_modules(unet: UNet2DConditionModel) -> list[nn.Module]:
    """The modules that end the resolution levels of the decoder, coarse to fine.

    Their outputs, upsampling included, are those of output blocks 2, 5, 8, 11 of Stable Diffusion
    1.5 in the original layout.
    """
    return list(unet.up_blocks)


def stage_widths(unet: UNet2DConditionModel) -> tuple[int, ...]:
    """Output channels of the :func:`stage_modules`."""
    layout = UNetLayout.from_diffusers(unet.config)
    return tuple(layout.model_channels * mult for mult in reversed(layout.channel_mult))


def fitting_config(
    unet: UNet2DConditionModel, width: int, scale: int, scheme: str, fine: Sequence[int] = ()
) -> HeadConfig:
    """The configuration of a new head for a UNet.

    Args:
        width, scale, scheme, fine: As of :class:`.HeadConfig`, ``fine`` being its ``fine_widths``.
    """
    return HeadConfig(stage_widths(unet), width, scale, scheme, tuple(fine))


Change = Callable[[list[Tensor]], list[Tensor]]
"""A change to the features before the head reads them; for negative controls."""


@torch.no_grad()
def annotate_latents(
    base: Base,
    head: AnnotationHead,
    latents: Tensor,
    seeds: Sequence[int],
    *,
    timestep: int = LIGHT_NOISE,
    texts: Sequence[str] | None = None,
    change: Change = list,
) -> Annotations:
    """Annotations of finished images: scaled latents [B, 4, h, w], lightly noised, in one pass.

    Args:
        seeds: Noise seeds, one per image.
        timestep: Noise level, 0..999.
        texts: Prompts, one per image; empty if None.
        change: Applied to the features; for controls.

    Raises:
        IncompatibleError: The head was trained for another UNet.
        InputError: The timestep is outside 0..999, or the counts differ.
    """
    count = len(latents)
    texts = [""] * count if texts is None else texts
    if len(seeds) != count or len(texts) != count:
        raise InputError(
            f"{len(seeds)} seeds and {len(texts)} texts were given for {count} images",
            fix="Give one of each per image",
        )
    head.require(stage_widths(base.unet), "annotation head")
    noise = seeded_noise(seeds, latents.shape[1:])
    steps = alphas_cumprod()
    if not 0 <= timestep < len(steps):
        raise InputError(
            f"the timestep {timestep} is outside 0..{len(steps) - 1}",
            fix="Choose one within it; low timesteps mean little noise",
        )
    alpha = float(steps[timestep])
    noisy = alpha**0.5 * latents + (1 - alpha) ** 0.5 * noise
    found = []
    for start in range(0, count, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        context = encode_text(base.text_encoder, token_ids(texts[some]))
        t = torch.full((len(noisy[some]),), timestep)
        with capture_features(stage_modules(base.unet)) as features:
            base.unet(noisy[some], t, context)
        found.append(decode(head(change(features), t), head.config.scheme))
    return joined(found)


def annotate_images(
    base: Base,
    head: AnnotationHead,
    encode: Callable[[Tensor], Tensor],
    images: Tensor,
    seeds: Sequence[int],
    *,
    timestep: int = LIGHT_NOISE,
    texts: Sequence[str] | None = None,
    change: Change = list,
) -> Annotations:
    """Annotations of images [B, 3, H, W]: the mean of theirs and of their mirror images'.

    Args:
        encode: Images -> scaled latents.
        seeds, timestep, texts, change: As of :func:`annotate_latents`; mirror images get the same
            noise.

    Raises:
        IncompatibleError, InputError: As :func:`annotate_latents`.
    """
    seen, turned = (
        annotate_latents(
            base, head, encode(some), seeds, timestep=timestep, texts=texts, change=change
        )
        for some in (images, images.flip(-1))
    )
    return mean_annotations([seen, mirrored(turned)])


def joined(several: Sequence[Annotations]) -> Annotations:
    """Concatenate the annotations of several batches."""
    return Annotations(
        depth=torch.cat([a.depth for a in several]),
        part_logits=torch.cat([a.part_logits for a in several]),
        landmarks=torch.cat([a.landmarks for a in several]),
        confidence=torch.cat([a.confidence for a in several]),
        scheme=several[0].scheme,
    )


@dataclass(eq=False)
class SamplingCapture:
    """Reads annotations during sampling: wrap the model, sample, then call ``result``.

    Args:
        wanted: Whether to read a timestep.
        change: Of the features; for controls.

    Raises:
        IncompatibleError: The head was trained for another UNet.
    """

    unet: UNet2DConditionModel
    head: AnnotationHead
    wanted: Callable[[int], bool]
    change: Change = list
    read: list[Annotations] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Reject a head for another UNet here, not in the middle of sampling."""
        self.head.require(stage_widths(self.unet), "annotation head")

    def around(self, model: Model) -> Model:
        """The model with feature capture; its output is unchanged, bit for bit."""

        def captured(x: Tensor, t: Tensor) -> Tensor:
            step = int(t.flatten()[0])
            if not self.wanted(step):
                return model(x, t)
            # With guidance the conditional half comes last; without it there is no other.
            with capture_features(stage_modules(self.unet), slice(-len(x), None)) as features:
                out = model(x, t)
            with torch.no_grad():
                maps = self.head(self.change(features), torch.full((len(x),), step))
            self.read.append(decode(maps, self.head.config.scheme))
            return out

        return captured

    def result(self, *, mean: bool = False) -> Annotations:
        """The last annotations read, or the mean of all.

        Raises:
            InputError: No step was read.
        """
        if not self.read:
            raise InputError("no step was read", fix="Widen the range of steps")
        return mean_annotations(self.read) if mean else self.read[-1]
