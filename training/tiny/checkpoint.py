"""Compressed weights and metadata of the files that ``denseface train-demo`` writes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..runs.loop import Schedule, train
from ..watch.provenance import provenance
from .run import TrainingRun


def compressed_state_dict(net: nn.Module, float8: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """All weights and buffers of a network, with floating-point ones in fp16.

    Args:
        float8: Prefixes of names whose matrices and kernels become float8 (e4m3) instead.
    """
    found = {}
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            small = tensor.ndim > 1 and name.startswith(float8)
            tensor = tensor.to(torch.float8_e4m3fn if small else torch.float16)
        found[name] = tensor
    return found


def train_part(
    run: TrainingRun, name: str, task: nn.Module, schedule: Schedule, *, batch: int, seed: int
) -> float:
    """Train the task of a stage, or of a part of one, in the folder ``name``; its seconds."""
    return train(
        task,
        schedule,
        seed=seed,
        folder=run.folder / name,
        settings={"images": run.images, "batch": batch},
        fresh=run.fresh,
    )


def train_stage(
    run: TrainingRun, stage: str, task: nn.Module, schedule: Schedule, *, batch: int, seed: int
) -> dict[str, str]:
    """Train the task of a stage and return the metadata of its file."""
    seconds = train_part(run, stage, task, schedule, batch=batch, seed=seed)
    return run_metadata(run, stage, schedule, batch, seed, seconds)


def run_metadata(
    run: TrainingRun, stage: str, schedule: Schedule, batch: int, seed: int, seconds: float
) -> dict[str, str]:
    """Metadata of a file: all that is needed to train it again."""
    curve = (run.folder / stage / "curve.jsonl").read_text().splitlines()
    return {
        "command": f"denseface train-demo {stage} --images {run.images} --length {run.length}",
        "seed": str(seed),
        "steps": str(schedule.steps),
        "samples": str(schedule.steps * batch),
        "seconds": f"{seconds:.0f}",
        "at_end": curve[-1],
        **provenance(),
    }
