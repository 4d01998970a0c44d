"""Latent-space blending: generate the face, keep the base elsewhere.

Source: docs/reference/dense_face.md A8.

Every step first puts the noised base back outside the face, then takes one DDIM step of the whole
latent. Masks are the host's: 1 = redraw, 0 = keep the base. The release's are inverted
(``evaluation.parity``).

The defaults follow the release: fresh background noise in each step and no blend after the last
one. Optional additions: one background noise for the whole run (``fixed_noise``), a last blend with
the clean base (``final_blend``), soft masks, and any latent to start from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..faces.masks.compositing import blend
from .schedule import DDIMSchedule

Model = Callable[[Tensor, Tensor], Tensor]
"""(latent [B, C, h, w], timestep as int64 scalar) -> predicted noise [B, C, h, w]."""

Draw = Callable[[], Tensor]
"""A source of Gaussian noise: every call gives the next latent-shaped draw."""


@dataclass(frozen=True, eq=False)
class Step:
    """One step, as passed to a callback.

    Args:
        index: 0 for the noisiest step.
        count: Number of steps.
        timestep: The step's t.
        model_in: Blended latent [B, C, h, w], the network's input.
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
    mask: Tensor | None,
    schedule: DDIMSchedule,
    draw: Draw,
    *,
    start: Tensor | None = None,
    fixed_noise: bool = False,
    final_blend: bool = False,
    callback: Callable[[Step], None] | None = None,
) -> Tensor:
    """DDIM sampling that puts the base back outside the mask in every step.

    Order of the draws: one for the start (unless ``start`` is given and the noise is not fixed),
    then in each step one for the background (unless fixed) and one for the step itself. The release
    draws and discards one latent before that; do the same to reproduce its random numbers.

    Args:
        model: Predicted noise, guidance included.
        x0: Clean base latent [B, C, h, w], scaled.
        mask: [B or 1, 1, h, w] in 0..1, 1 = redraw; None redraws everything.
        schedule: The grid, run from its noisiest step.
        draw: Source of noise.
        start: Latent to start from; the base at the noisiest level if None, as in the release.
        fixed_noise: Use one noise for the background in all steps.
        final_blend: Put the clean base back after the last step too.
        callback: Called after each step.

    Returns:
        The final latent [B, C, h, w]; without ``final_blend`` all of it is the network's.
    """
    background: Tensor | None = None
    if start is None or fixed_noise:
        background = draw()
        start = q_sample(x0, schedule.alphas[-1], background) if start is None else start
    x = start
    count = len(schedule)
    for index, i in enumerate(reversed(range(count))):
        if mask is not None:
            noise = background if fixed_noise and background is not None else draw()
            x = blend(q_sample(x0, schedule.alphas[i], noise), x, mask)
        model_in = x
        eps = model(x, schedule.timesteps[i])
        x, predicted = ddim_step(
            x, eps, schedule.alphas[i], schedule.alphas_prev[i], schedule.sigmas[i], draw()
        )
        if callback is not None:
            timestep = int(schedule.timesteps[i])
            callback(Step(index, count, timestep, model_in, predicted, x))
    if final_blend and mask is not None:
        x = torch.where(mask <= 0, x0, blend(x0, x, mask))
    return x


def _area_weights(size: int, new_size: int) -> Tensor:
    """[new_size, size]: fraction of each new pixel that each old one covers; rows sum to 1."""
    edges = torch.arange(new_size + 1, dtype=torch.float64) * size / new_size
    start, end = edges[:-1, None], edges[1:, None]
    left = torch.arange(size, dtype=torch.float64)
    overlap = (torch.minimum(end, left + 1) - torch.maximum(start, left)).clamp(min=0)
    return overlap / overlap.sum(1, keepdim=True)
