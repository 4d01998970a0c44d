"""On-policy starting points for face losses: rollouts of the sampler.

A real image under noise still shows its own person, and no guidance has acted on it. In sampling
the network meets faces that it began itself, so losses at such points correct what sampling really
does, as in reward fine-tuning of diffusion models (ReFL, arXiv 2304.05977; DRaFT, arXiv
2309.17400). No gradients flow through the rollout.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..dense_face.schedule import TRAIN_STEPS
from ..errors import InputError
from ..pipelines.tiny.sfsr import GUIDANCE, STARTS
from ..sfsr.midpoint import Denoiser


@dataclass(frozen=True)
class Rollout:
    """Sampling with few steps that stops early.

    steps: Of a complete sampling. guidance, starts: As for ``SFSRPipeline.express``.
    """

    steps: int = 10
    guidance: float = GUIDANCE
    starts: tuple[float, float] = STARTS

    def timesteps(self, earliest: int, latest: int, generator: torch.Generator) -> Tensor:
        """Timesteps [n] from the noisiest one down to a random stop.

        Args:
            earliest, latest: Bounds of the last timestep.

        Raises:
            InputError: No step lies between the bounds.
        """
        first = 0.95 * TRAIN_STEPS
        times = [first * (1 - step / self.steps) for step in range(self.steps + 1)]
        stops = [step for step, time in enumerate(times) if earliest <= time <= latest]
        if not stops:
            raise InputError(
                f"none of {self.steps} steps lies between the timesteps {earliest} and {latest}",
                fix="Use more steps or a wider range",
            )
        stop = stops[int(torch.randint(len(stops), (1,), generator=generator))]
        return torch.linspace(first, 0, self.steps + 1)[: stop + 1]

    @torch.no_grad()
    def sample(
        self,
        denoise: Denoiser,
        noise: Tensor,
        sigmas: Tensor,
        scene: Tensor | None = None,
        new: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Latents x [B, 4, h, w] at the last noise level, and the level [B].

        Args:
            noise: [B, 4, h, w].
            sigmas: Noise levels of the timesteps [n], decreasing.
            scene: Latents [B, 4, h, w] to start from; zeros if None.
            new: [B, 1, h, w], 1 = drawn; elsewhere the scene is kept in every step. None draws the
                whole image.
        """
        scene = torch.zeros_like(noise) if scene is None else scene
        levels = sigmas.float().to(noise)
        x = scene + levels[0] * noise
        for sigma, next_sigma in pairwise(levels):
            clean = denoise(x, sigma.expand(len(x)))
            x = clean + next_sigma / sigma * (x - clean)
            if new is not None:
                x = new * x + (1 - new) * (scene + next_sigma * noise)
        return x, levels[-1].expand(len(x))
