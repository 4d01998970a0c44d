"""Memory of training: the peak while a base is loaded, and the plans of its steps.

``python -m comfyui_dense_face.benchmarks.training_memory BASE`` loads a file in a process of its
own and prints two numbers.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from .result import STATUS, Result, megabytes
from .sparse_base import write_sparse_base
from .tiny_world import PACKAGE, python

LOADING = 1.3
"""Most memory while loading, over what stays."""
PLANNED = {False: 6.5, True: 11.0}
"""Gigabytes of a step of SFSR at 512 px and batch 1, without and with the identity loss."""


def loading_a_base() -> Iterator[Result]:
    """The peak while a float32 file is read for training in bf16, over what stays."""
    if not STATUS.is_file():
        return
    with tempfile.TemporaryDirectory() as folder:
        path = write_sparse_base(Path(folder) / "base.safetensors", middle=True)
        peak, stays = measured_loading(path)
    yield Result("a base loaded for training: what stays", stays, "MB")
    yield Result("a base loaded for training: peak", peak / stays, "x stays", LOADING)


def plans_at_512() -> Iterator[Result]:
    """What ``denseface train sfsr --plan`` counts on Stable Diffusion 1.5."""
    from ..training.settings.config import SFSRConfig
    from ..training.settings.plans import plan_of

    with tempfile.TemporaryDirectory() as folder:
        base = write_sparse_base(Path(folder) / "base.safetensors")
        for identity_loss, target in PLANNED.items():
            config = SFSRConfig(
                dataset=base,
                base=base,
                out=base,
                ir_se50=base,
                batch=1,
                accumulation=8,
                optimizer="adamw",
                gradient_checkpointing=True,
                identity_loss=identity_loss,
            )
            words = "with" if identity_loss else "without"
            peak = plan_of(config).peak / 1e9
            yield Result(f"plan: SFSR, 512 px, batch 1, {words} identity loss", peak, "GB", target)


def measured_loading(path: Path) -> tuple[float, float]:
    """Megabytes at the peak and afterwards, besides the process itself."""
    said = python("-m", f"{PACKAGE}.benchmarks.training_memory", str(path))
    peak, stays = said.split()[-2:]
    return float(peak), float(stays)


def main() -> None:
    """Load a base as training does, and print the memory."""
    from ..pipelines.base import load_base
    from ..pipelines.single_file import load_checkpoint

    load_base()  # imports, and what libraries keep
    gc.collect()
    (STATUS.parent / "clear_refs").write_text("5")  # the peak begins anew
    before = megabytes()
    kept = load_checkpoint(sys.argv[1], dtype=torch.bfloat16)
    print(megabytes("VmHWM") - before, megabytes() - before)
    del kept


if __name__ == "__main__":
    main()
