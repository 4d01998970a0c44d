"""Time of one denoising step of each variant, as a ratio to the bare UNet's in the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .result import Result
from .variants import AUTHORS, BARE, BLENDED_TIME, BOTH, PROMISES, Variants

PAIRS = 5
_SIGMA = 2.0


def step(guider: Any, side: int) -> tuple[float, Tensor]:
    """Seconds and clean latent of a step: the second model call of a sampling, when all is warm."""
    import comfy.samplers

    seen: list[tuple[float, Tensor]] = []

    def look(net: Any, x: Tensor, sigmas: Tensor, extra_args: Any, *_: Any, **__: Any) -> Tensor:
        for _call in range(2):
            _wait()
            start = time.perf_counter()
            clean = net(x, sigmas[:1], **extra_args)
            _wait()
            seen.append((time.perf_counter() - start, clean))
        return x

    latent = torch.zeros(1, 4, side, side)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        sampler = comfy.samplers.KSAMPLER(look)
        levels = torch.tensor([_SIGMA, 0.0])
        guider.sample(noise, latent, sampler, levels, disable_pbar=True, seed=0)
    return seen[-1]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def steps(variants: Variants, pairs: int = PAIRS) -> Iterator[Result]:
    """Interleaved pairs: a bare step right before each variant's, so that both see one machine."""
    side = variants.world.size.side
    names = [name for name in variants.makers if name != BARE]
    bare: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in names}
    blended: list[float] = []
    for _ in range(pairs):
        last: dict[str, float] = {}
        for name in names:
            base = step(variants[BARE], side)[0]
            bare.append(base)
            last[name] = step(variants[name], side)[0]
            ratios[name].append(last[name] / base)
        blended.append(ratios[BOTH][-1] / ratios[AUTHORS][-1])
    yield _median(f"{BARE}, both CFG halves, {8 * side} px", bare, "s")
    for name, values in ratios.items():
        yield _median(name, values, "x bare", PROMISES.get(name))
    yield _median("blended generation", blended, "x authors", BLENDED_TIME)


def _median(what: str, values: list[float], unit: str, promise: float | None = None) -> Result:
    spread = (min(values), max(values))
    return Result(what, statistics.median(values), unit, promise, spread=spread)


def profiled(guider: Any, side: int, rows: int = 12) -> str:
    """Where the time of a step goes, as a table of operators."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        step(guider, side)
    table = seen.key_averages().table(
        sort_by="self_cpu_time_total", row_limit=rows, max_name_column_width=40
    )
    return str(table)
