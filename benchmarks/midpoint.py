"""Time of an evaluation of the Midpoint Sampler, as a ratio to the host's own ``dpm_2``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .result import Result
from .steps import PAIRS, Clock
from .variants import BARE, Variants

DPM_2, OURS = "dpm_2", "Midpoint Sampler (geometric, euler)"
PROMISE = 1.01
SIGMAS = (14.6, 2.0, 0.0)
"""Three evaluations: two for the first step, one for the last."""


def samplers() -> dict[str, Any]:
    """Two SAMPLERs that ask the model for the same: their pictures agree bit for bit."""
    import comfy.samplers

    from ..nodes.midpoint import MidpointSampler

    ours = MidpointSampler.execute("geometric", 0.0, "euler").result[0]
    return {DPM_2: comfy.samplers.sampler_object("dpm_2"), OURS: ours}


def sampled(
    guider: Any, sampler: Any, side: int, *, clock: Clock = time.perf_counter
) -> tuple[float, Tensor]:
    """Seconds between the first evaluation and the end of a sampling, and its latent."""
    begun: list[float] = []

    def look(step: int, *_: object) -> None:
        begun.append(clock())

    latent = torch.zeros(1, 4, side, side)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        levels = torch.tensor(SIGMAS)
        options = {"callback": look, "disable_pbar": True, "seed": 0}
        made = guider.sample(noise, latent, sampler, levels, **options)
    return clock() - begun[0], made


def midpoint(
    variants: Variants, pairs: int = PAIRS, clock: Clock = time.perf_counter
) -> Iterator[Result]:
    """In turn, and in another order each time: the first of two finds another machine."""
    side, guider, both = variants.world.size.side, variants[BARE], samplers()
    sampled(guider, both[DPM_2], side)  # loads the network
    ratios = []
    for number in range(pairs):
        order = list(both) if number % 2 else list(both)[::-1]
        seconds = {name: sampled(guider, both[name], side, clock=clock)[0] for name in order}
        ratios.append(seconds[OURS] / seconds[DPM_2])
    spread = (min(ratios), max(ratios))
    yield Result(OURS, statistics.median(ratios), f"x {DPM_2}", PROMISE, spread=spread)
