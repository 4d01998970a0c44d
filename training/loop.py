"""One training loop for every stage: deterministic, resumable after a kill, weights averaged.

A stage is an ``nn.Module`` whose ``forward(generator)`` draws its own batch and noise from the
generator and returns named losses; the first one is minimised. Everything random of step ``i``
comes from a generator seeded by (seed, i), so a resumed run sees the same batches as an unbroken
one. Precision and device placement belong to accelerate.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import ModelFileError
from ..storage import atomic_path
from .optimizer import MuonAdamW

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """Length and pace of a training run.

    ``lr`` rises linearly over ``warmup`` steps and falls to a fiftieth by a cosine; ``ema`` is the
    largest decay of the weight average, reached slowly so that short runs are averaged too.
    """

    steps: int
    lr: float
    warmup: int = 100
    ema: float = 0.998
    weight_decay: float = 0.01
    save_every: int = 200
    precision: str = "bf16"

    def rate(self, step: int) -> float:
        """Learning rate of step ``step`` (0-based)."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of one step, independent of all other steps."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Initial weights drawn inside are those of ``seed``; the global generator is put back."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def fit(task: nn.Module, schedule: Schedule, *, seed: int, folder: Path) -> float:
    """Train ``task``, leave the averaged weights in it and return the seconds spent in all runs.

    State and the loss curve (``curve.jsonl``) are kept in ``folder``; a run that was killed goes on
    from the last saved state, a finished one returns at once.

    Raises:
        ModelFileError: The saved state in ``folder`` does not belong to this task.
    """
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(mixed_precision=schedule.precision)
    trained = {name: p for name, p in task.named_parameters() if p.requires_grad}
    model = accelerator.prepare(task)
    optimizer = MuonAdamW(task, schedule.lr, schedule.weight_decay)
    average = {name: p.detach().clone() for name, p in trained.items()}
    first, spent = _resume(folder / "state.pt", task, average, optimizer)
    started = time.monotonic()
    means: dict[str, float] = {}
    model.train()
    bar = tqdm(range(first, schedule.steps), initial=first, total=schedule.steps, desc=folder.name)
    for step in bar:
        losses: dict[str, Tensor] = model(step_generator(seed, step))
        accelerator.backward(next(iter(losses.values())))
        accelerator.clip_grad_norm_(trained.values(), 1.0)
        optimizer.step(schedule.rate(step))
        with torch.no_grad():
            for name, parameter in trained.items():
                average[name].lerp_(parameter, 1 - min(schedule.ema, (1 + step) / (10 + step)))
        for name, value in losses.items():
            now = float(value.detach())
            means[name] = 0.98 * means.get(name, now) + 0.02 * now
        if (step + 1) % 20 == 0:
            bar.set_postfix({name: f"{value:.4f}" for name, value in means.items()})
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            seconds = spent + time.monotonic() - started
            if accelerator.is_main_process:
                _save(folder, task, average, optimizer, step + 1, seconds, means)
    task.load_state_dict(average, strict=False)
    task.eval().requires_grad_(False)
    return spent + time.monotonic() - started


def _save(
    folder: Path,
    task: nn.Module,
    average: dict[str, Tensor],
    optimizer: MuonAdamW,
    step: int,
    seconds: float,
    means: dict[str, float],
) -> None:
    state = {
        "step": step,
        "seconds": seconds,
        "task": _changing(task),
        "average": average,
        "optimizer": optimizer.state_dict(),
    }
    with atomic_path(folder / "state.pt") as temporary:
        torch.save(state, temporary)
    with (folder / "curve.jsonl").open("a") as curve:
        curve.write(json.dumps({"step": step, "seconds": round(seconds, 1), **means}) + "\n")


def _changing(task: nn.Module) -> dict[str, Tensor]:
    """Tensors that training changes: trainable parameters, and buffers but those of frozen layers.

    A frozen layer's statistics belong to its own file, which may have changed when a run goes on.
    """
    frozen = set()
    for path, module in task.named_modules():
        own = dict(module.named_parameters(recurse=False))
        frozen |= {f"{path}.{name}" for name, p in own.items() if not p.requires_grad}
        if own and not any(p.requires_grad for p in own.values()):
            frozen |= {f"{path}.{name}" for name, _ in module.named_buffers(recurse=False)}
    return {name: t for name, t in task.state_dict().items() if name not in frozen}


def _resume(
    path: Path, task: nn.Module, average: dict[str, Tensor], optimizer: MuonAdamW
) -> tuple[int, float]:
    if not path.is_file():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    try:
        unexpected = task.load_state_dict(state["task"], strict=False).unexpected_keys
        if unexpected or state["average"].keys() != average.keys():
            raise KeyError("other weights")
        average.update(state["average"])
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, RuntimeError, ValueError) as error:
        raise ModelFileError(
            "the saved training state belongs to another network",
            where=str(path),
            fix="Remove it to start from zero",
        ) from error
    log.info("resuming %s at step %d", path.parent.name, state["step"])
    return int(state["step"]), float(state["seconds"])
