"""The state of a training run: everything that changes, and what it was started with.

``Accelerator.save_state`` would store the frozen base model with every state, gigabytes for Stable
Diffusion, and write a folder of files one after the other, which a kill can leave incomplete.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.scheduler import AcceleratedScheduler
from torch import Tensor, nn

from ...errors import InputError, ModelFileError
from .fingerprint import Fingerprint
from .processes import on_main
from .work_folder import read_state, write_state

log = logging.getLogger(__name__)


@dataclass
class TrainingState:
    """Everything that changes during training.

    scaler: Gradient scaler of fp16, None for other precisions.
    average: Averaged weights by parameter name.
    fingerprint: What the run was started with.
    step: Steps done. seconds: Time that they took.
    watch: What its losses were, for health and curve.
    """

    task: nn.Module
    optimizer: AcceleratedOptimizer
    scheduler: AcceleratedScheduler
    scaler: torch.amp.GradScaler | None
    average: dict[str, Tensor]
    fingerprint: Fingerprint = field(default_factory=Fingerprint)
    step: int = 0
    seconds: float = 0.0
    watch: Mapping[str, Any] = field(default_factory=dict)

    def save(self, folder: Path, keep: int) -> None:
        """Save the state from the main process.

        Args:
            keep: States to keep, this one included.

        Raises:
            InputError: The folder cannot be written to; earlier states are left alone.
        """
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "fingerprint": asdict(self.fingerprint),
            "task": changing_tensors(self.task),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "watch": dict(self.watch),
        }
        on_main(lambda: write_state(folder, self.step, state, keep))

    def load(self, folder: Path) -> None:
        """Restore the newest state, read by the main process; without one nothing happens.

        Raises:
            InputError: It belongs to a run that was started with something else.
            ModelFileError: It is damaged, or belongs to another network.
        """
        found = on_main(lambda: self._read(folder))
        if found is None:
            return
        path, state = found
        try:
            unexpected = self.task.load_state_dict(state["task"], strict=False).unexpected_keys
            if unexpected or state["average"].keys() != self.average.keys():
                raise KeyError("other weights")
            for name, tensor in self.average.items():
                tensor.copy_(state["average"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            if self.scaler is not None and state["scaler"]:
                self.scaler.load_state_dict(state["scaler"])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.watch = state.get("watch", {})
        except Exception as error:  # a state of another kind may raise anything
            raise ModelFileError(
                "the saved training state belongs to another network",
                where=str(path),
                fix="Name another --folder, or start anew with --fresh",
            ) from error
        log.info("resuming %s at step %d", folder.name, self.step)

    def _read(self, folder: Path) -> tuple[Path, dict[str, Any]] | None:
        found = read_state(folder)
        if found is not None:
            saved = found[1].get("fingerprint")
            before = Fingerprint(**saved) if isinstance(saved, dict) else Fingerprint()
            different = self.fingerprint.differences(before)
            if different:
                raise InputError(
                    f"the folder holds a run that was started with something else: "
                    f"{'; '.join(different)}",
                    where=str(folder),
                    fix="Continue it as it was started, name another --folder, or start anew "
                    "with --fresh",
                )
        return found


def changing_tensors(task: nn.Module) -> dict[str, Tensor]:
    """Tensors that training changes: trainable parameters, and buffers except of frozen layers.

    Frozen layers belong to their own files.
    """
    frozen = set()
    for path, module in task.named_modules():
        own = dict(module.named_parameters(recurse=False))
        frozen |= {f"{path}.{name}" for name, p in own.items() if not p.requires_grad}
        if own and not any(p.requires_grad for p in own.values()):
            frozen |= {f"{path}.{name}" for name, _ in module.named_buffers(recurse=False)}
    return {name: t for name, t in task.state_dict().items() if name not in frozen}
