"""Time of one denoising step of each variant, relative to the bare UNet's in the same run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ..result import Result
from .variants import AUTHORS, BARE, BLENDED_TIME, BOTH, COUNTED, TARGETS, Variants

PAIRS = 5
_SIGMA = 2.0
Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
"""``cpu`` counts only this process: for one thread on a busy machine."""


def step(guider: Any, side: int, *, clock: Clock = time.perf_counter) -> tuple[float, Tensor]:
    """Seconds and clean latent of a step: the second model call of a sampling.

    Work done once per sampling (patching weights, encoding the hint) falls into the first.
    """
    import comfy.samplers

    seen: list[tuple[float, Tensor]] = []

    def look(net: Any, x: Tensor, sigmas: Tensor, extra_args: Any, *_: Any, **__: Any) -> Tensor:
        for _call in range(2):
            wait()
            start = clock()
            clean = net(x, sigmas[:1], **extra_args)
            wait()
            seen.append((clock() - start, clean))
        return x

    latent = torch.zeros(1, 4, side, side)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        sampler = comfy.samplers.KSAMPLER(look)
        levels = torch.tensor([_SIGMA, 0.0])
        guider.sample(noise, latent, sampler, levels, disable_pbar=True, seed=0)
    return seen[-1]


def wait() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def steps(
    variants: Variants, pairs: int = PAIRS, clock: Clock = time.perf_counter
) -> Iterator[Result]:
    """Variants interleaved with bare steps, so that each pair runs under the same conditions."""
    side = variants.world.size.side
    names = [name for name in variants.makers if name != BARE]
    bare: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(pairs):
        for before, after in zip_longest(names[::2], names[1::2]):
            seconds = {}
            for name in (before, BARE, after):
                if name is not None:
                    seconds[name] = step(variants[name], side, clock=clock)[0]
            bare.append(seconds[BARE])
            for name in seconds.keys() - {BARE}:
                ratios[name].append(seconds[name] / seconds[BARE])
    yield Result.of(f"{BARE}, both CFG halves, {8 * side} px", bare, "s")
    for name, values in ratios.items():
        yield Result.of(name, values, "x bare", TARGETS.get(name))
    bare_count = counted(variants[BARE], side)
    for name in COUNTED:
        ratio = counted(variants[name], side) / bare_count
        yield Result(f"{name}, arithmetic counted", ratio, "x bare")
    blended = [ours / theirs for ours, theirs in zip(ratios[BOTH], ratios[AUTHORS], strict=True)]
    yield Result.of("blended generation", blended, "x authors", BLENDED_TIME)


def counted(guider: Any, side: int) -> float:
    """Floating-point operations of a step's products, convolutions and attentions."""
    with FlopCounterMode(display=False) as counter:
        return step(guider, side, clock=counter.get_total_flops)[0]


def profiled(guider: Any, side: int, rows: int = 12) -> str:
    """Profile of a step, as a table of operators."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        step(guider, side)
    table = seen.key_averages().table(
        sort_by="self_cpu_time_total", row_limit=rows, max_name_column_width=40
    )
    return str(table)
