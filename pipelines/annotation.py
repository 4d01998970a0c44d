"""The annotation head on a diffusers UNet: which modules are tapped, and one look at an image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..dense_face.annotation.annotations import Annotations, decode, mean_annotations
from ..dense_face.annotation.head import AnnotationHead, AnnotationMaps, HeadConfig
from ..dense_face.blending import Model
from ..dense_face.feature_hooks import capture_features
from ..dense_face.schedule import alphas_cumprod
from ..errors import InputError
from .base import Base
from .layout import UNetLayout
from .sampling import seeded_noise
from .text import encode_text, token_ids

LIGHT_NOISE = 1
"""The timestep at which finished images are looked at."""
_AT_ONCE = 32


def stage_modules(unet: UNet2DConditionModel) -> list[nn.Module]:
    """The modules that end the resolution levels of the decoder, coarse to fine.

    Their outputs, upsampling included, are those of output blocks 2, 5, 8, 11 of Stable Diffusion
    1.5 in the original layout.
    """
    return list(unet.up_blocks)


def stage_widths(unet: UNet2DConditionModel) -> tuple[int, ...]:
    """Channels of what :func:`stage_modules` return."""
    layout = UNetLayout.from_diffusers(unet.config)
    return tuple(layout.model_channels * mult for mult in reversed(layout.channel_mult))


def fitting_config(unet: UNet2DConditionModel, width: int, scale: int, scheme: str) -> HeadConfig:
    """The numbers of a fresh head for a UNet."""
    return HeadConfig(stage_widths(unet), width, scale, scheme)


Change = Callable[[list[Tensor]], list[Tensor]]
"""Something done to the features before the head sees them; for controls that have to fail."""


@torch.no_grad()
def read_maps(
    unet: UNet2DConditionModel,
    head: AnnotationHead,
    x: Tensor,
    t: Tensor,
    context: Tensor,
    change: Change = list,
) -> AnnotationMaps:
    """One pass of the UNet over noisy latents [B, 4, h, w] at timesteps [B], read by the head.

    Raises:
        IncompatibleError: The head was trained for another UNet.
        InputError: A timestep is outside 0..999.
    """
    with capture_features(stage_modules(unet)) as features:
        unet(x, t, context)
    return head(change(features), t)


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
    """Look at finished images: scaled latents [B, 4, h, w], lightly noised, one pass.

    Args:
        seeds: Of the noise, one for each image.
        timestep: How much noise, 0..999.
        texts: What the images show; nothing is said if left out.
        change: Of the features; for controls.

    Raises:
        IncompatibleError: The head was trained for another UNet.
        InputError: The timestep is outside 0..999, or the counts differ.
    """
    count = len(latents)
    texts = [""] * count if texts is None else texts
    if len(seeds) != count or len(texts) != count:
        raise InputError(
            f"{len(seeds)} seeds and {len(texts)} texts were given for {count} images",
            fix="Give one of each for every image",
        )
    head.require(stage_widths(base.unet), "annotation head")
    noise = seeded_noise(seeds, latents.shape[1:])
    steps = alphas_cumprod()
    if not 0 <= timestep < len(steps):
        raise InputError(
            f"the timestep {timestep} is outside 0..{len(steps) - 1}",
            fix="Choose one inside; small ones are light noise",
        )
    alpha = float(steps[timestep])
    noisy = alpha**0.5 * latents + (1 - alpha) ** 0.5 * noise
    found = []
    for start in range(0, count, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        with torch.no_grad():
            context = encode_text(base.text_encoder, token_ids(texts[some]))
        t = torch.full((len(noisy[some]),), timestep)
        maps = read_maps(base.unet, head, noisy[some], t, context, change)
        found.append(decode(maps, head.config.scheme))
    return joined(found)


def joined(several: Sequence[Annotations]) -> Annotations:
    """The annotations of several batches as one."""
    return Annotations(
        depth=torch.cat([a.depth for a in several]),
        part_logits=torch.cat([a.part_logits for a in several]),
        landmarks=torch.cat([a.landmarks for a in several]),
        confidence=torch.cat([a.confidence for a in several]),
        scheme=several[0].scheme,
    )


@dataclass(eq=False)
class SamplingCapture:
    """Reads annotations while a sampler runs: wrap the model, sample, then ask ``result``.

    Args:
        unet: The UNet that the model runs.
        head: The head; it must be one for this UNet.
        wanted: Whether a timestep is to be read.
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
        """Refuse a head of another UNet at once, not in the middle of sampling."""
        self.head.require(stage_widths(self.unet), "annotation head")

    def around(self, model: Model) -> Model:
        """The same model, listened to; what it returns is the same, bit for bit."""

        def listened(x: Tensor, t: Tensor) -> Tensor:
            step = int(t.flatten()[0])
            if not self.wanted(step):
                return model(x, t)
            # Guidance puts the half with words last; without guidance there is only that one.
            with capture_features(stage_modules(self.unet), slice(-len(x), None)) as features:
                out = model(x, t)
            with torch.no_grad():
                maps = self.head(self.change(features), torch.full((len(x),), step))
            self.read.append(decode(maps, self.head.config.scheme))
            return out

        return listened

    def result(self, *, mean: bool = False) -> Annotations:
        """The last reading, or the mean of all.

        Raises:
            InputError: No step was read.
        """
        if not self.read:
            raise InputError("no step was tapped", fix="Widen the range of steps")
        return mean_annotations(self.read) if mean else self.read[-1]
