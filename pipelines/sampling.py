"""The command line's sampler: DDIM with eta 0, from a seed to a clean latent.

It is equivalent to ComfyUI's ``euler`` with ``ddim_uniform`` and a noise mask, so a
seed gives the same image in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..dense_face.blending import Model, Step, blended_ddim, q_sample
from ..dense_face.schedule import DDIMSchedule, ddim_schedule, schedule_of
from ..faces.masks.compositing import blend


def seeded_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Noise [B, *shape]; each image's depends only on its own seed."""
    noises = [
        torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ]
    return torch.cat(noises)


def clean_schedule(steps: int) -> DDIMSchedule:
    """The grid t = 1, 1 + 1000 // steps, ... at eta 0, ending without noise.

    Raises:
        InputError: Steps outside 1..1000.
    """
    grid = ddim_schedule(steps, eta=0)
    return schedule_of(grid.timesteps, grid.alphas, torch.ones(1), eta=0)


def sample(
    model: Model,
    base: Tensor,
    noise: Tensor,
    schedule: DDIMSchedule,
    mask: Tensor | None = None,
    on_step: Callable[[], object] = lambda: None,
) -> Tensor:
    """Clean latents [B, C, h, w].

    Args:
        model: Predicted noise, guidance included.
        base: Clean latents to start from and to keep [B, C, h, w]; zeros if there are none.
        noise: [B, C, h, w].
        schedule: From :func:`clean_schedule`.
        mask: [B or 1, 1, h, w] in 0..1, 1 = redraw; None redraws everything.
    """

    def callback(_: Step) -> None:
        on_step()

    if mask is not None:
        model = softly_masked(model, base, mask, noise, schedule)
    return blended_ddim(model, base, None, schedule, lambda: noise, callback=callback)


def softly_masked(
    model: Model, base: Tensor, mask: Tensor, noise: Tensor, schedule: DDIMSchedule
) -> Model:
    """A model whose clean latent is the base's where ``mask`` is 0 and its own where it is 1.

    This is ComfyUI's rule. ``blended_ddim`` mixes the latents before each step; ComfyUI mixes
    twice, the network's input and the clean latent it predicts, and never overwrites its own
    latent. Both agree where the mask is 0 or 1 and differ in between.

    Sample it with DDIM at eta 0, starting from the base noised by ``noise``, without any other
    blending.

    Args:
        model: Predicted noise, guidance included.
        base: Clean latent [B, C, h, w], scaled.
        mask: [B or 1, 1, h, w] in 0..1, 1 = redraw.
        noise: Noise added to the base at every step [B, C, h, w].
    """
    alphas = dict(zip(schedule.timesteps.tolist(), schedule.alphas, strict=True))

    def masked(x: Tensor, timestep: Tensor) -> Tensor:
        alpha = alphas[int(timestep)]
        root, rest = alpha.sqrt().to(x), (1 - alpha).sqrt().to(x)
        model_in = blend(q_sample(base, alpha, noise), x, mask)
        clean = (model_in - rest * model(model_in, timestep)) / root
        return (x - root * blend(base, clean, mask)) / rest

    return masked
