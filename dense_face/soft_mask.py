"""Sampling under a soft mask by the rule of the host's noise mask.

``blending.blended_ddim`` mixes the latents before each step. ComfyUI mixes twice, the network's
input and the clean latent it predicts, and never overwrites the sampler's own latent. Both rules
agree where the mask is 0 or 1 and differ in between. With this form the command line and the host
give the same image.
"""

from __future__ import annotations

from torch import Tensor

from ..faces.masks.compositing import blend
from .blending import Model, q_sample
from .schedule import DDIMSchedule


def softly_masked(
    model: Model, base: Tensor, mask: Tensor, noise: Tensor, schedule: DDIMSchedule
) -> Model:
    """A model whose clean latent is the base's where ``mask`` is 0 and its own where it is 1.

    Sample it with DDIM at eta 0, starting from the base noised by ``noise``, without any other
    blending.

    Args:
        model: Predicted noise, guidance included.
        base: Clean latent [B, C, h, w], scaled.
        mask: [B or 1, 1, h, w] in 0..1, 1 = redraw.
        noise: The base's noise in every step [B, C, h, w].
        schedule: The grid that the sampler uses.
    """
    alphas = dict(zip(schedule.timesteps.tolist(), schedule.alphas, strict=True))

    def masked(x: Tensor, timestep: Tensor) -> Tensor:
        alpha = alphas[int(timestep)]
        root, rest = alpha.sqrt().to(x), (1 - alpha).sqrt().to(x)
        model_in = blend(q_sample(base, alpha, noise), x, mask)
        clean = (model_in - rest * model(model_in, timestep)) / root
        return (x - root * blend(base, clean, mask)) / rest

    return masked
