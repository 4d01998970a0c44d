"""Time per evaluation of the Midpoint Sampler, relative to the host's ``dpm_2``.

Both make the same model calls; only their own overhead differs. Single evaluations vary by more
than the target of one percent, so model time and overhead are separated: the median of all
evaluations is added to each sampler's own time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..result import Result
from .steps import PAIRS, Clock, wait
from .variants import BARE, Variants

DPM_2, OURS = "dpm_2", "Midpoint Sampler (geometric, euler)"
TARGET = 1.01
SIGMAS = (14.6, 6.0, 2.0, 0.0)
"""Five evaluations: two per step, one for the last."""


@dataclass
class Timed:
    """A sampling: its latent, total seconds, and seconds of each model evaluation."""

    latent: Tensor = field(default_factory=lambda: torch.empty(0))
    seconds: float = 0.0
    evaluations: list[float] = field(default_factory=list)

    @property
    def own(self) -> float:
        """Seconds of sampler overhead per evaluation."""
        return (self.seconds - sum(self.evaluations)) / len(self.evaluations)


class _Watched:
    """A model, as passed to samplers, that records the time of each evaluation."""

    def __init__(self, net: Any, clock: Clock, seconds: list[float]) -> None:
        self.inner_model = net.inner_model
        self._net, self._clock, self._seconds = net, clock, seconds

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        begun = self._clock()
        clean = self._net(*args, **kwargs)
        wait()
        self._seconds.append(self._clock() - begun)
        return clean


def samplers() -> dict[str, Any]:
    """Two SAMPLERs that make the same model calls; their images agree bit for bit."""
    import comfy.samplers

    from ...nodes.sfsr.midpoint import MidpointSampler

    ours = MidpointSampler.execute("geometric", 0.0, "euler").result[0]
    return {DPM_2: comfy.samplers.sampler_object("dpm_2"), OURS: ours}


def sampled(guider: Any, sampler: Any, side: int, *, clock: Clock = time.perf_counter) -> Timed:
    """Run a sampling, timed from the first evaluation to the end."""
    import comfy.samplers

    found = Timed()

    def look(net: Any, x: Tensor, sigmas: Tensor, **rest: Any) -> Tensor:
        watched = _Watched(net, clock, found.evaluations)
        begun = clock()
        made = sampler.sampler_function(watched, x, sigmas, **rest, **sampler.extra_options)
        wait()
        found.seconds = clock() - begun
        return made

    latent = torch.zeros(1, 4, side, side)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        levels = torch.tensor(SIGMAS)
        options = {"disable_pbar": True, "seed": 0}
        found.latent = guider.sample(
            noise, latent, comfy.samplers.KSAMPLER(look), levels, **options
        )
    return found


def midpoint(
    variants: Variants, pairs: int = PAIRS, clock: Clock = time.perf_counter
) -> Iterator[Result]:
    """Interleaved, in alternating order: the first of a pair runs under other conditions."""
    side, guider, both = variants.world.size.side, variants[BARE], samplers()
    sampled(guider, both[DPM_2], side)  # loads the network
    found: dict[str, list[Timed]] = {name: [] for name in both}
    for number in range(pairs):
        for name in list(both) if number % 2 else list(both)[::-1]:
            found[name].append(sampled(guider, both[name], side, clock=clock))
    every = [seconds for runs in found.values() for run in runs for seconds in run.evaluations]
    model = statistics.median(every)
    ours, theirs = ([model + run.own for run in found[name]] for name in (OURS, DPM_2))
    value = statistics.median(ours) / statistics.median(theirs)
    limits = (min(ours) / max(theirs), max(ours) / min(theirs))
    yield Result(OURS, value, f"x {DPM_2}", TARGET, limits=limits)
    yield Result("fraction of its time in the model", model / statistics.median(ours), "")
