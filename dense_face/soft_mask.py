"""Keeping the base under a soft mask, by the rule of a noise mask in the host.

``blending.blended_ddim`` mixes the latents before each step. Hosts mix twice: what enters the
network, and the clean latent that it predicts; the path between the steps is never overwritten.
Where the mask is 0 or 1 both rules give the same image, in the grey between they do not. This
form makes images from the command line and from the host agree.
"""

from __future__ import annotations

from torch import Tensor

from .blending import Model, q_sample
from .schedule import DDIMSchedule


def softly_masked(
    model: Model, base: Tensor, keep: Tensor, noise: Tensor, schedule: DDIMSchedule
) -> Model:
    """A model whose clean latent is the base's where ``keep`` is 1, its own where it is 0.

    Sample it with a DDIM of eta 0 that starts from the base noised by ``noise`` and that does no
    blending of its own.

    Args:
        model: Predicted noise, guidance included.
        base: Clean latent [B, C, h, w], scaled.
        keep: [B or 1, 1, h, w] in 0..1.
        noise: The base's noise in every step [B, C, h, w].
        schedule: The grid that the sampler visits.
    """
    alphas = dict(zip(schedule.timesteps.tolist(), schedule.alphas, strict=True))

    def masked(x: Tensor, timestep: Tensor) -> Tensor:
        alpha = alphas[int(timestep)]
        root, rest = alpha.sqrt().to(x), (1 - alpha).sqrt().to(x)
        seen = keep * q_sample(base, alpha, noise) + (1 - keep) * x
        clean = (seen - rest * model(seen, timestep)) / root
        clean = keep * base + (1 - keep) * clean
        return (x - root * clean) / rest

    return masked
