"""Noise schedule and DDIM timesteps of the release: uniform timesteps plus 1.

Source: docs/reference/dense_face.md A8.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError

TRAIN_STEPS = 1000
BETA_START, BETA_END = 0.00085, 0.012


def alphas_cumprod() -> Tensor:
    """Cumulative product of 1 - beta, [1000] float32, of scaled-linear betas.

    Computed in float64 and then rounded, as in the release.
    """
    roots = torch.linspace(BETA_START**0.5, BETA_END**0.5, TRAIN_STEPS, dtype=torch.float64)
    return torch.cumprod(1 - roots**2, 0).float()


@dataclass(frozen=True, eq=False)
class DDIMSchedule:
    """DDIM timesteps in ascending order; the sampler runs through them backwards.

    All tensors are [S], ``timesteps`` int64 and the others float64: the cumulative alphas at each
    timestep and at the one before it, and the standard deviation of the noise added in each step.
    """

    timesteps: Tensor
    alphas: Tensor
    alphas_prev: Tensor
    sigmas: Tensor

    def __len__(self) -> int:
        return len(self.timesteps)


def ddim_schedule(steps: int = 50, eta: float = 1.0) -> DDIMSchedule:
    """The release's timesteps: t = 1, 1 + stride, ... with stride = 1000 // steps.

    The step before the first is t = 0, so the last step ends at alpha_0 = 0.99915 and not at 1.
    If ``steps`` does not divide 1000 the schedule has a few more steps, as in the release; a
    timestep beyond the table, where the release fails, is dropped.

    Args:
        steps: 1 to 1000.
        eta: DDIM eta, 0..1; 0 is deterministic, the release uses 1.

    Raises:
        InputError: Steps or eta out of range.
    """
    table = alphas_cumprod().double()
    if not 1 <= steps <= len(table):
        raise InputError(
            f"{steps} steps cannot be sampled", fix=f"Choose a number between 1 and {len(table)}"
        )
    if not 0 <= eta <= 1:
        raise InputError(f"eta is {eta}", fix="Choose a value between 0 and 1")
    timesteps = torch.arange(0, len(table), len(table) // steps) + 1
    timesteps = timesteps[timesteps < len(table)]
    return schedule_of(timesteps, table[timesteps], table[:1], eta)


def schedule_of(timesteps: Tensor, alphas: Tensor, end: Tensor, eta: float) -> DDIMSchedule:
    """A schedule for any timesteps in ascending order.

    Args:
        timesteps: [S] int64.
        alphas: Cumulative alphas there, [S] float64.
        end: The cumulative alpha after the last step, [1]; 1 ends without noise.
        eta: DDIM eta, 0..1.
    """
    alphas_prev = torch.cat([end.to(alphas), alphas[:-1]])
    sigmas = eta * torch.sqrt((1 - alphas_prev) / (1 - alphas) * (1 - alphas / alphas_prev))
    return DDIMSchedule(timesteps, alphas, alphas_prev, sigmas)
