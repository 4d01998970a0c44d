"""The training loop of all trainers: deterministic, resumable after a kill, weights averaged.

A task is an ``nn.Module`` whose ``forward(generator)`` draws its own batch and noise from the
generator and returns named losses; the first one is minimised. All randomness of step ``i`` comes
from a generator seeded with (seed, i), so a resumed run sees the same batches as an uninterrupted
one. Accelerate handles devices, processes, mixed precision and gradient scaling.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from ..storage import make_folder
from .optimizer import MuonAdamW
from .state import TrainingState

_MAX_NORM = 1.0


@dataclass(frozen=True)
class Schedule:
    """Length and learning rates of a training run.

    steps: Number of optimizer steps.
    lr: Peak learning rate; it rises linearly over ``warmup`` steps, then follows a cosine down to a
        fiftieth.
    ema: Largest decay of the weight average; it grows slowly, so that short runs are averaged too.
    save_every: Steps between saved states.
    precision: ``no`` (float32), ``bf16`` or ``fp16``.
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

    def decay(self, step: int) -> float:
        """Decay of the weight average in step ``step`` (0-based)."""
        return min(self.ema, (1 + step) / (10 + step))


def step_generator(seed: int, step: int) -> torch.Generator:
    """The generator of one step, independent of all other steps."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator inside the block and restore it afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def train(task: nn.Module, schedule: Schedule, *, seed: int, folder: Path) -> float:
    """Train ``task``, load the averaged weights into it and freeze it.

    The state and the loss curve (``curve.jsonl``) are saved in ``folder``. A killed run resumes
    from the last saved state; a finished one returns at once.

    Returns:
        Seconds spent on this training, in all runs together.

    Raises:
        ModelFileError: The saved state in ``folder`` does not belong to this task.
        InputError: ``folder`` cannot be written to.
    """
    make_folder(folder)
    # The schedule counts steps, not samples: it must not run faster with more processes.
    accelerator = Accelerator(
        mixed_precision=schedule.precision, step_scheduler_with_optimizer=False
    )
    model = accelerator.prepare(task)
    # A base rate of 1, so that the scheduler's products are the schedule's rates exactly.
    muon_adamw = MuonAdamW(task, 1.0, schedule.weight_decay)
    optimizer, scheduler = accelerator.prepare(muon_adamw, LambdaLR(muon_adamw, schedule.rate))
    trained = {name: p for name, p in task.named_parameters() if p.requires_grad}
    # diffusers' EMAModel starts with decay 0 instead of 0.1 and rounds differently; with it the
    # bundled weights could not be reproduced.
    average = {name: p.detach().clone() for name, p in trained.items()}
    state = TrainingState(task, optimizer, scheduler, accelerator.scaler, average)
    state.load(folder)
    before, started = state.seconds, time.monotonic()
    means: dict[str, float] = {}
    model.train()
    steps = range(state.step, schedule.steps)
    bar = tqdm(steps, initial=state.step, total=schedule.steps, desc=folder.name)
    for step in bar:
        losses: dict[str, Tensor] = model(step_generator(seed, step))
        accelerator.backward(next(iter(losses.values())))
        accelerator.clip_grad_norm_(trained.values(), _MAX_NORM)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for name, parameter in trained.items():
                average[name].lerp_(parameter, 1 - schedule.decay(step))
        for name, value in losses.items():
            now = float(value.detach())
            means[name] = 0.98 * means.get(name, now) + 0.02 * now
        if (step + 1) % 20 == 0:
            bar.set_postfix({name: f"{value:.4f}" for name, value in means.items()})
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            state.step, state.seconds = step + 1, before + time.monotonic() - started
            if accelerator.is_main_process:
                state.save(folder, means)
    task.load_state_dict(average, strict=False)
    task.eval().requires_grad_(False)
    return before + time.monotonic() - started
