"""The sampler of the command line: DDIM without fresh noise, from a seed to a clean latent.

It equals the host's ``euler`` sampler with the ``ddim_uniform`` scheduler and a noise mask, so a
seed gives the same image in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..dense_face.blending import Model, Step, blended_ddim
from ..dense_face.schedule import DDIMSchedule, ddim_schedule, schedule_of
from ..dense_face.soft_mask import softly_masked


def seeded_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Noise [B, *shape], each image from its own seed, whatever the rest of the batch."""
    noises = [
        torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds
    ]
    return torch.cat(noises)


def clean_schedule(steps: int) -> DDIMSchedule:
    """The grid t = 1, 1 + 1000 // steps, ... without fresh noise, ending without any noise.

    Raises:
        InputError: Steps out of 1..1000.
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
        base: Clean latents to start from and to keep [B, C, h, w]; zeros where there are none.
        noise: [B, C, h, w].
        schedule: Of :func:`clean_schedule`.
        mask: [B or 1, 1, h, w] in 0..1, 1 = redraw; None redraws everything.
        on_step: Called after each step.
    """

    def callback(_: Step) -> None:
        on_step()

    if mask is not None:
        model = softly_masked(model, base, mask, noise, schedule)
    return blended_ddim(model, base, None, schedule, lambda: noise, callback=callback)
