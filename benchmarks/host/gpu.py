"""On a GPU: every variant against the same on the CPU, and its memory.

``python -m comfyui_dense_face.benchmarks.host.gpu FLAG FILE`` writes the clean latent of each
variant on a minimal network to FILE, on the GPU if it sees one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..result import Result
from ..tiny_world import PACKAGE
from .steps import step
from .variants import Variants
from .world import FULL, SMALL, Size, start_host

TOLERANCES = {"fp32_unet": 1e-3, "fp16_unet": 0.02, "bf16_unet": 0.1}
"""Flag of the host that chooses the type -> largest difference, relative to the largest value."""


def parity() -> Iterator[Result]:
    """The GPU's latents against the CPU's, in each type.

    Where devices or types are mixed, torch raises by itself.
    """
    for flag, tolerance in TOLERANCES.items():
        here, there = latents(flag, gpu=True), latents(flag, gpu=False)
        for name, expected in there.items():
            apart = float((here[name] - expected).abs().max() / expected.abs().max())
            yield Result(f"{name}, {flag.removesuffix('_unet')}", apart, "of largest", tolerance)


def memory(size: Size = FULL) -> Iterator[Result]:
    """Megabytes on the GPU at the peak of a step, after a first one."""
    variants = Variants(size)
    for name in variants.makers:
        step(variants[name], size.side)
        torch.cuda.reset_peak_memory_stats()
        step(variants[name], size.side)
        yield Result(f"GPU memory: {name}", torch.cuda.max_memory_allocated() / 2**20, "MB")


def latents(flag: str, *, gpu: bool) -> dict[str, Tensor]:
    """Name -> clean latent of each variant, computed by a process of its own."""
    hidden = {} if gpu else {"CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "latents.pt"
        command = [sys.executable, "-m", f"{PACKAGE}.benchmarks.host.gpu", flag, str(file)]
        subprocess.run(command, check=True, env=os.environ | hidden)  # noqa: S603
        return torch.load(file, weights_only=True)


def main() -> None:
    """Write the latents of each variant."""
    flag, file = sys.argv[1:]
    start_host()
    from comfy.cli_args import args

    setattr(args, flag, True)
    torch.manual_seed(0)
    variants = Variants(SMALL)
    drawn = {name: step(variants[name], SMALL.side)[1] for name in variants.makers}
    torch.save({name: latent.float().cpu() for name, latent in drawn.items()}, file)


if __name__ == "__main__":
    main()
