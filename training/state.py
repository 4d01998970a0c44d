"""The state of a training run, saved in one file that is never half-written.

``Accelerator.save_state`` would store the frozen base model with every state, gigabytes for Stable
Diffusion, and write a folder of files one after the other, which a kill can leave incomplete.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.scheduler import AcceleratedScheduler
from torch import Tensor, nn

from ..errors import ModelFileError
from ..readers.torch_file import open_checkpoint, read_saved
from ..storage import atomic_path, writing

log = logging.getLogger(__name__)
STATE = "state.pt"
CURVE = "curve.jsonl"


@dataclass
class TrainingState:
    """Everything that changes during training.

    scaler: Gradient scaler of fp16, None for other precisions.
    average: Averaged weights by parameter name.
    step: Steps done. seconds: Time that they took.
    """

    task: nn.Module
    optimizer: AcceleratedOptimizer
    scheduler: AcceleratedScheduler
    scaler: torch.amp.GradScaler | None
    average: dict[str, Tensor]
    step: int = 0
    seconds: float = 0.0

    def save(self, folder: Path, losses: Mapping[str, float]) -> None:
        """Save the state and append the losses to the curve.

        Raises:
            InputError: The folder cannot be written to.
        """
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "task": changing_tensors(self.task),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
        }
        with atomic_path(folder / STATE) as temporary:
            torch.save(state, temporary)
        with writing(folder / CURVE), (folder / CURVE).open("a") as curve:
            point = {"step": self.step, "seconds": round(self.seconds, 1), **losses}
            curve.write(json.dumps(point) + "\n")

    def load(self, folder: Path) -> None:
        """Restore the saved state; without one nothing happens.

        Raises:
            ModelFileError: It is damaged, or belongs to another network.
        """
        path = folder / STATE
        if not path.is_file():
            return
        with open_checkpoint(path) as stream:
            state = read_saved(stream, str(path))
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
        except Exception as error:  # a state of another kind may raise anything
            raise ModelFileError(
                "the saved training state belongs to another network",
                where=str(path),
                fix="Remove it to start from zero",
            ) from error
        log.info("resuming %s at step %d", folder.name, self.step)


def changing_tensors(task: nn.Module) -> dict[str, Tensor]:
    """Tensors that training changes: trainable parameters, and buffers except of frozen layers.

    The statistics of a frozen layer belong to its own file, which may be a newer one when a run
    resumes.
    """
    frozen = set()
    for path, module in task.named_modules():
        own = dict(module.named_parameters(recurse=False))
        frozen |= {f"{path}.{name}" for name, p in own.items() if not p.requires_grad}
        if own and not any(p.requires_grad for p in own.values()):
            frozen |= {f"{path}.{name}" for name, _ in module.named_buffers(recurse=False)}
    return {name: t for name, t in task.state_dict().items() if name not in frozen}
