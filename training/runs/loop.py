"""The training loop of all trainers: deterministic, resumable after a kill, weights averaged.

A task is an ``nn.Module`` whose ``forward(generator)``, or ``forward(generator, batch)`` where it
reads a data set, returns named losses; the first one is minimised. All randomness of step ``i``
comes from a generator seeded with (seed, i), and batch ``i`` of a data set depends on its number
alone, so a resumed run sees the same as an uninterrupted one. Accelerate handles devices,
processes, mixed precision, gradient scaling and accumulation.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from ...dense_face.noise_prediction import average_decay
from ..data.batches import Batches
from ..watch.monitor import Monitor
from ..watch.monitor import clear as clear_watched
from ..watch.validation import Validation, averaged_weights
from .fingerprint import BATCH, PROCESSES, Fingerprint
from .health import Health
from .machine import no_scaler
from .optimizer import new_optimizer
from .processes import on_main, process_state, require_same
from .state import TrainingState
from .work_folder import clear, locked

_MAX_NORM = 1.0
_SETTINGS = ("steps", "lr", "warmup", "ema", "weight_decay", "precision", "optimizer")
"""Of a schedule, those that change the result."""
_PER_PROCESS = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class Schedule:
    """Length and learning rates of a training run.

    steps: Number of optimizer steps.
    lr: Peak learning rate; it rises linearly over ``warmup`` steps, then follows a cosine down to a
        fiftieth.
    ema: Largest decay of the weight average; it grows slowly, so that short runs are averaged too.
    save_every: Steps between saved states. keep: Number of them that are kept.
    log_every: Steps between lines of the curve. tensorboard: Whether TensorBoard's events are
        written, too.
    precision: ``no`` (float32), ``bf16`` or ``fp16``.
    accumulation: Batches whose gradients make one step.
    optimizer: A key of ``optimizer.OPTIMIZERS``.
    """

    steps: int
    lr: float
    warmup: int = 100
    ema: float = 0.998
    weight_decay: float = 0.01
    save_every: int = 200
    keep: int = 2
    precision: str = "bf16"
    accumulation: int = 1
    optimizer: str = "muon"
    log_every: int = 10
    tensorboard: bool = False

    def rate(self, step: int) -> float:
        """Learning rate of step ``step`` (0-based)."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.lr * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))

    def decay(self, step: int) -> float:
        """Decay of the weight average in step ``step`` (0-based)."""
        return average_decay(step, self.ema)


def step_generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """The generator of one step and process, independent of all others."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step + rank * _PER_PROCESS) % 2**63)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator inside the block and restore it afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def train(
    task: nn.Module,
    schedule: Schedule,
    *,
    seed: int,
    folder: Path,
    batches: Batches | None = None,
    settings: Mapping[str, object] | None = None,
    validation: Validation | None = None,
    write: Callable[[int], None] | None = None,
    fresh: bool = False,
) -> float:
    """Train ``task``, load the averaged weights into it and freeze it.

    The states are saved in ``folder`` by the main process, beside curves and validation images
    (``watch.monitor``). A killed run resumes from the last saved state; a finished one returns at
    once.

    Args:
        batches: The data set; None for a task that draws its own batch.
        settings: What else shapes the result, for the fingerprint: a state that was saved with
            other settings, frozen networks or data is refused.
        validation: It does not change the result.
        write: Writes what can be used of an unfinished run, given the steps done. All processes
            call it after each saved state but the last, with the averaged weights in ``task``.
        fresh: Remove what an earlier run left in ``folder``.

    Returns:
        Seconds spent on this training, in all runs together.

    Raises:
        InputError: ``folder`` holds or is used by another run, or cannot be written to; the loss
            is not finite or has diverged.
        ModelFileError: The saved state is damaged or belongs to another network.
    """
    process_state()
    with ExitStack() as held:
        on_main(lambda: held.enter_context(locked(folder)))
        if fresh:
            on_main(lambda: (clear(folder), clear_watched(folder)))
        own = dict(settings or {})
        if validation is not None and validation.people:
            own["people held out"] = validation.people
        return _train(held, task, schedule, seed, folder, batches, own, validation, write)


def _train(
    held: ExitStack,
    task: nn.Module,
    schedule: Schedule,
    seed: int,
    folder: Path,
    batches: Batches | None,
    settings: dict[str, object],
    validation: Validation | None,
    write: Callable[[int], None] | None,
) -> float:
    # The schedule counts steps, not samples: it must not run faster with more processes.
    accelerator = Accelerator(
        mixed_precision=schedule.precision,
        gradient_accumulation_steps=schedule.accumulation,
        step_scheduler_with_optimizer=False,
        # Where all rows of a process lack an input, what reads it has no gradient there.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if schedule.precision == "fp16" and accelerator.scaler is None:
        raise no_scaler()
    fingerprint = _fingerprint(task, schedule, seed, batches, settings, accelerator.num_processes)
    model = accelerator.prepare(task)
    # A base rate of 1, so that the scheduler's products are the schedule's rates exactly.
    plain = new_optimizer(schedule.optimizer, task, 1.0, schedule.weight_decay)
    optimizer, scheduler = accelerator.prepare(plain, LambdaLR(plain, schedule.rate))
    trained = {name: p for name, p in task.named_parameters() if p.requires_grad}
    # diffusers' EMAModel starts with decay 0 instead of 0.1 and rounds differently; with it the
    # bundled weights could not be reproduced.
    average = {name: p.detach().clone() for name, p in trained.items()}
    state = TrainingState(task, optimizer, scheduler, accelerator.scaler, average, fingerprint)
    state.load(folder)
    before, started = state.seconds, time.monotonic()
    health, parts = Health(accelerator, folder), schedule.accumulation
    monitor = Monitor(
        folder,
        every=schedule.log_every,
        steps=schedule.steps,
        rate=schedule.lr,
        images=None if batches is None else batches.size * accelerator.num_processes * parts,
        validation=validation,
    )
    if state.watch:
        health.load_state_dict(state.watch["health"])
        monitor.load_state_dict(state.watch["monitor"])
    held.callback(monitor.close)
    on_main(lambda: monitor.open(state.step, tensorboard=schedule.tensorboard))

    @contextmanager
    def averaged() -> Iterator[nn.Module]:
        with averaged_weights(task, trained, average), accelerator.autocast():
            yield task

    loaded = _loaded(accelerator, batches, state.step * parts, schedule.steps * parts)
    model.train()
    if state.step == 0:
        monitor.show(0, 0.0, 0.0, averaged)
    steps = range(state.step, schedule.steps)
    bar = tqdm(
        steps,
        initial=state.step,
        total=schedule.steps,
        desc=folder.name,
        disable=not accelerator.is_main_process,
    )
    for step in bar:
        for part in range(step * parts, (step + 1) * parts):
            generator = step_generator(seed, part, accelerator.process_index)
            batch = next(loaded)
            with accelerator.accumulate(model):
                losses: dict[str, Tensor] = (
                    model(generator) if batch is None else model(generator, batch)
                )
                accelerator.backward(next(iter(losses.values())))
            health.see(losses, batch)
        norm = accelerator.clip_grad_norm_(trained.values(), _MAX_NORM)
        monitor.metrics.add(health.check(step, norm), norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        if not optimizer.step_was_skipped:  # of fp16, after an overflow
            with torch.no_grad():
                for name, parameter in trained.items():
                    average[name].lerp_(parameter, 1 - schedule.decay(step))
        if (step + 1) % 20 == 0:
            bar.set_postfix({name: f"{value:.4f}" for name, value in health.means.items()})
        state.step, state.seconds = step + 1, before + time.monotonic() - started
        monitor.show(state.step, state.seconds, schedule.rate(step), averaged)
        if state.step % schedule.save_every == 0 or state.step == schedule.steps:
            state.watch = {"health": health.state_dict(), "monitor": monitor.state_dict()}
            state.save(folder, schedule.keep)
            on_main(monitor.draw)
            if write is not None and state.step < schedule.steps:
                with averaged():
                    write(state.step)
            monitor.metrics.resume_clock()
    next(loaded, None)  # for accelerate, which keeps a loader that has not ended
    task.load_state_dict(average, strict=False)
    task.eval().requires_grad_(False)
    return before + time.monotonic() - started


def _fingerprint(
    task: nn.Module,
    schedule: Schedule,
    seed: int,
    batches: Batches | None,
    settings: dict[str, object],
    processes: int,
) -> Fingerprint:
    """That of this run; InputError unless all processes have the same."""
    own = asdict(schedule)
    named = {name.replace("_", " "): own[name] for name in _SETTINGS}
    named |= {"seed": seed, **settings}
    checksums = {}
    if batches is None:
        named[PROCESSES] = processes * schedule.accumulation
    else:
        named["images per step"] = batches.size * processes * schedule.accumulation
        named |= {BATCH: batches.size, PROCESSES: processes}
        checksums["data set"] = batches.checksum
    found = Fingerprint.of(task, named, checksums)
    if processes > 1:
        require_same("the data or a model file", repr(sorted(found.checksums.items())))
        require_same("an option", repr(sorted(found.settings.items())))
    return found


def _loaded(
    accelerator: Accelerator, batches: Batches | None, start: int, end: int
) -> Iterator[Any]:
    """The batches of this process on its device; None over and over without a data set."""
    if batches is None:
        return iter(lambda: None, 0)
    processes = accelerator.num_processes
    loader = accelerator.prepare(batches.loader(start * processes, end * processes))
    return map(batches.checked, loader)
