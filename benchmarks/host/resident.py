"""Resident memory of each variant after a step, each in its own process.

``python -m comfyui_dense_face.benchmarks.host.resident NAME`` is such a process; it prints two
numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from ..result import STATUS, Result, megabytes
from ..tiny_world import PACKAGE, python
from .steps import step
from .variants import BARE, BLENDED_MEMORY, Variants
from .whole import AUTHORS_WHOLE, OURS_HALF, OURS_WHOLE, run_authors, run_ours, written
from .world import FULL, SMALL, Size, start_host


def resident(size: Size) -> Iterator[Result]:
    """Megabytes of a process after building a variant and computing two steps."""
    if not STATUS.is_file():
        return
    small = size is SMALL
    for name in Variants(size).makers:
        held, _ = _measured(name, "--small" * small)
        yield Result(f"memory: {name}", held, "MB")
    if small:
        return
    with written() as (base, adapter, release):
        found = {name: _measured(name, str(base), str(adapter)) for name in (OURS_WHOLE, OURS_HALF)}
        theirs = _measured(AUTHORS_WHOLE, str(release))
    for i, what in enumerate(("while sampling", "at the peak")):
        yield Result(f"memory {what}: {AUTHORS_WHOLE}", theirs[i], "MB")
        for name, ours in found.items():
            yield Result(f"memory {what}: {name}", ours[i], "MB")
            yield Result(f"{name}, {what}", ours[i] / theirs[i], "x authors", BLENDED_MEMORY)


def _measured(*words: str) -> tuple[float, float]:
    said = python("-m", f"{PACKAGE}.benchmarks.host.resident", *filter(None, words))
    held, peak = said.split()[-2:]
    return float(held), float(peak)


def main() -> None:
    """Build a variant, sample, and print the memory."""
    name, *rest = sys.argv[1:]
    start_host()
    torch.manual_seed(0)
    if name == OURS_HALF:
        from comfy.cli_args import args

        args.fp16_unet = True
    if name in (OURS_WHOLE, OURS_HALF):
        kept: object = run_ours(Path(rest[0]), Path(rest[1]))
    elif name == AUTHORS_WHOLE:
        kept = run_authors(Path(rest[0]))
    else:
        size = SMALL if rest else FULL
        variants = Variants(size)
        step(variants[name if name in variants.makers else BARE], size.side)
        kept = variants
    print(megabytes("VmRSS"), megabytes("VmHWM"))
    del kept


if __name__ == "__main__":
    main()
