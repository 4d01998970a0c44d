"""What every training of Dense-Face has in common: noised latents, dropped conditions, averages."""

from __future__ import annotations

import torch
from torch import Tensor

NO_IDENTITY = 0.1
"""Probability that a training sample lacks the identity."""
EMPTY_CAPTION = 0.1
"""Probability that a training caption is empty, for classifier-free guidance."""
_MIN_SNR = 5.0


def noised(
    latents: Tensor, alphas: Tensor, generator: torch.Generator, *, least: float = 0.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_t, noise, timesteps and loss weights for latents [B, 4, h, w].

    The weights [B] are min-SNR 5 (arXiv 2303.09556) for noise prediction: an error of the clean
    latents is weighted by their signal-to-noise ratio, clamped to ``least``..5.
    """
    t = torch.randint(len(alphas), (len(latents),), generator=generator)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    ab = alphas[t].to(latents)[:, None, None, None]
    snr = (alphas[t] / (1 - alphas[t])).to(latents)
    return ab.sqrt() * latents + (1 - ab).sqrt() * noise, noise, t, snr.clamp(least, _MIN_SNR) / snr


def average_decay(step: int, largest: float) -> float:
    """Decay of the average of the weights in step ``step`` (0-based).

    It grows slowly, so that short runs are averaged too.
    """
    return min(largest, (1 + step) / (10 + step))
