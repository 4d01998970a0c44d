"""The sampler's own way down as the place where a face loss starts.

A true image under noise still shows whoever is on it, and no guidance has acted on it. What
sampling meets is something else: a face that the network began itself. Losses that look there
correct what sampling really does (on-policy, as reward fine-tuning of diffusion models does:
ReFL, arXiv 2304.05977; DRaFT, arXiv 2309.17400). Gradients do not flow along the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..dense_face.schedule import TRAIN_STEPS
from ..errors import InputError
from ..pipelines.tiny.sfsr import GUIDANCE, STARTS
from ..sfsr.background import start_latent
from ..sfsr.midpoint import Denoiser
from .sfsr_faces import SFSRFaces


@dataclass(frozen=True)
class Rollout:
    """A sampling with few steps that stops on its way.

    steps: Of the whole way down. guidance, starts: As of ``SFSRPipeline.express``.
    """

    steps: int = 10
    guidance: float = GUIDANCE
    starts: tuple[float, float] = STARTS

    def times(self, earliest: int, latest: int, generator: torch.Generator) -> Tensor:
        """Timesteps [n] from the noisiest one down to where it stops, by chance.

        Args:
            earliest, latest: Between which it stops.

        Raises:
            InputError: No step of the way lies there.
        """
        grid = torch.linspace(0.95 * TRAIN_STEPS, 0, self.steps + 1)
        stops = torch.where((grid >= earliest) & (grid <= latest))[0]
        if len(stops) == 0:
            raise InputError(
                f"none of {self.steps} steps lies between the timesteps {earliest} and {latest}",
                fix="Give more steps, or a wider range",
            )
        stop = stops[torch.randint(len(stops), (1,), generator=generator)]
        return grid[: int(stop) + 1]

    @torch.no_grad()
    def down(
        self, denoise: Denoiser, shown: SFSRFaces, noise: Tensor, sigmas: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where the way stops: x [B, 4, h, w] and its noise levels [B].

        The scenes lie around the heads all the way, and nothing under the heads at its start, as
        when an image is made.

        Args:
            denoise: As for the estimate that starts there.
            noise: [B, 4, h, w].
            sigmas: Of the timesteps [n], falling.
        """
        new, empty = shown.background[:, :1], shown.background[:, 1:]
        scene = start_latent(shown.latents, empty, new)
        levels = sigmas.float().to(noise)
        x = scene + levels[0] * noise
        for here, following in pairwise(levels):
            clean = denoise(x, here.expand(len(x)))
            x = clean + following / here * (x - clean)
            x = new * x + (1 - new) * (scene + following * noise)
        return x, levels[-1].expand(len(x))
