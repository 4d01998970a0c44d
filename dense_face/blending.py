"""Latent-space blending: generate the face, keep the base elsewhere.

Source: docs/reference/dense_face.md A8.

Every step first puts the noised base back outside the face, then takes one DDIM step of the whole
latent. Masks here say what to **keep**: 1 = base, 0 = face to generate, as in the release.

Reference-exact: fresh background noise in each step and no blend after the last. Ours on request:
one background noise for the whole run (``fixed_noise``), a last blend with the clean base
(``final_blend``), soft masks, and a start from any latent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from .schedule import DDIMSchedule

KEEP_THRESHOLD = 0.75
LATENT_FACTOR = 8

Model = Callable[[Tensor, Tensor], Tensor]
"""(latent [B, C, h, w], timestep as int64 scalar) -> predicted noise [B, C, h, w]."""

Draw = Callable[[], Tensor]
"""A source of Gaussian noise: every call gives the next latent-shaped draw."""


@dataclass(frozen=True, eq=False)
class Step:
    """What a callback sees of one step.

    Args:
        index: 0 for the noisiest step.
        count: Number of steps.
        timestep: The step's t.
        model_in: Blended latent that entered the network.
        x0: Clean latent predicted from it.
        x: Latent after the step.
    """

    index: int
    count: int
    timestep: int
    model_in: Tensor
    x0: Tensor
    x: Tensor


def gaussian(shape: tuple[int, ...], generator: torch.Generator) -> Draw:
    """Noise source on the generator's device, float32."""
    return lambda: torch.randn(shape, generator=generator, device=generator.device)


def area_resize(image: Tensor, height: int, width: int) -> Tensor:
    """Resize [..., H, W] by averaging over the exact area of each new pixel (shrinking)."""
    rows = _area_weights(image.shape[-2], height).to(image)
    columns = _area_weights(image.shape[-1], width).to(image)
    return rows @ image @ columns.T


def prepare_keep(
    keep: Tensor, height: int, width: int, *, threshold: float | None = None
) -> Tensor:
    """A keep-mask in pixels -> a keep-mask [B, 1, height, width] on the latent grid.

    Args:
        keep: [H, W], [B, H, W] or [B, 1, H, W] in 0..1, 1 = keep the base.
        height, width: Of the latent.
        threshold: Below it a cell is generated, else kept; the release uses 0.75. None leaves the
            mask soft.

    Raises:
        InputError: Values outside 0..1 or not finite.
    """
    if not bool(torch.isfinite(keep).all()) or keep.min() < 0 or keep.max() > 1:
        raise InputError("the mask has values outside 0..1", fix="Give a mask between 0 and 1")
    while keep.ndim < 4:
        keep = keep[None]
    if keep.shape[1] != 1:
        keep = keep.transpose(0, 1)
    small = area_resize(keep.float(), height, width).clamp(0, 1)
    if threshold is None:
        return small
    # The release resizes images of 8 bits, so it compares whole grey levels with the threshold.
    return ((small * 255).round() / 255 >= threshold).float()


def q_sample(x0: Tensor, alpha: Tensor, noise: Tensor) -> Tensor:
    """Noise a clean latent: sqrt(alpha) x0 + sqrt(1 - alpha) noise."""
    return alpha.sqrt().to(x0) * x0 + (1 - alpha).sqrt().to(x0) * noise


def guided(uncond: Tensor, cond: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: e_u + scale (e_c - e_u)."""
    return uncond + scale * (cond - uncond)


def ddim_step(
    x: Tensor, eps: Tensor, alpha: Tensor, alpha_prev: Tensor, sigma: Tensor, noise: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One DDIM step: (next latent, predicted clean latent). ``noise`` is not read at sigma 0."""
    x0 = (x - (1 - alpha).sqrt().to(x) * eps) / alpha.sqrt().to(x)
    direction = (1 - alpha_prev - sigma**2).sqrt().to(x) * eps
    following = alpha_prev.sqrt().to(x) * x0 + direction
    if noise is not None and sigma > 0:
        following = following + sigma.to(x) * noise
    return following, x0


def blended_ddim(
    model: Model,
    x0: Tensor,
    keep: Tensor | None,
    schedule: DDIMSchedule,
    draw: Draw,
    *,
    start: Tensor | None = None,
    fixed_noise: bool = False,
    final_blend: bool = False,
    callback: Callable[[Step], None] | None = None,
) -> Tensor:
    """DDIM with the base put back outside the face in every step.

    Order of the draws: one for the start (unless ``start`` is given and noise is not fixed), then
    in each step one for the background (unless fixed) and one for the step itself. The release
    draws and discards one latent before that; to follow its random numbers, do so too.

    Args:
        model: Predicted noise, guidance included.
        x0: Clean base latent [B, C, h, w], scaled.
        keep: [B or 1, 1, h, w], 1 = base, 0 = generate; None generates everything.
        schedule: The grid, visited from the noisiest step.
        draw: Source of noise.
        start: Latent to start from; the base at the noisiest level if None, as in the release.
        fixed_noise: Use one noise for the background in all steps.
        final_blend: Put the clean base back after the last step too.
        callback: Called after each step.

    Returns:
        The final latent [B, C, h, w]; without ``final_blend`` wholly made by the network.
    """
    background: Tensor | None = None
    if start is None or fixed_noise:
        background = draw()
        start = q_sample(x0, schedule.alphas[-1], background) if start is None else start
    x = start
    count = len(schedule)
    for index, i in enumerate(reversed(range(count))):
        if keep is not None:
            noise = background if fixed_noise and background is not None else draw()
            x = keep * q_sample(x0, schedule.alphas[i], noise) + (1 - keep) * x
        model_in = x
        eps = model(x, schedule.timesteps[i])
        x, predicted = ddim_step(
            x, eps, schedule.alphas[i], schedule.alphas_prev[i], schedule.sigmas[i], draw()
        )
        if callback is not None:
            timestep = int(schedule.timesteps[i])
            callback(Step(index, count, timestep, model_in, predicted, x))
    if final_blend and keep is not None:
        x = torch.where(keep >= 1, x0, keep * x0 + (1 - keep) * x)
    return x


def joint(scene: Model, face: Model, keep: Tensor) -> Model:
    """Two modes in one run: ``scene`` (text editing) where keep is 1, ``face`` where it is 0.

    At one x and t the mix of the predicted noises is the mix of the predicted clean latents.
    """
    return lambda x, t: keep * scene(x, t) + (1 - keep) * face(x, t)


def _area_weights(size: int, new_size: int) -> Tensor:
    """[new_size, size]: share of each old pixel in each new one; rows sum to 1."""
    edges = torch.arange(new_size + 1, dtype=torch.float64) * size / new_size
    start, end = edges[:-1, None], edges[1:, None]
    left = torch.arange(size, dtype=torch.float64)
    overlap = (torch.minimum(end, left + 1) - torch.maximum(start, left)).clamp(min=0)
    return overlap / overlap.sum(1, keepdim=True)
