"""What a stopped training leaves behind: an adapter file, and a state to go on from.

Both lie in the output folder under a name made from all inputs, so that the next run with the same
inputs finds them. The state is a safetensors file with an ending that no list of the host shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ....errors import ModelFileError
from ....storage import read_format, tensor_checksum, write_weights

_FORMAT = "denseface-training/1"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(eq=False)
class TrainingState:
    """A training after some steps.

    average: Running average of the trained parameters, by name.
    losses: Of all steps so far.
    """

    trained: nn.Module
    optimizer: torch.optim.AdamW
    average: dict[str, Tensor]
    losses: list[float]

    @property
    def step(self) -> int:
        """Steps done."""
        return len(self.losses)

    def save(self, path: Path) -> None:
        """Write it, atomically; raises InputError."""
        tensors = {"losses": torch.tensor(self.losses, dtype=torch.float64)}
        for name, parameter in _trained(self.trained).items():
            tensors[f"weight.{name}"] = parameter
            tensors[f"average.{name}"] = self.average[name]
            known = self.optimizer.state[parameter]
            tensors |= {f"{moment}.{name}": known[moment] for moment in _MOMENTS}
        write_weights(path, tensors, {"format": _FORMAT})

    def load(self, path: Path) -> bool:
        """Continue from a file; a missing or damaged one counts as none."""
        if not path.is_file():
            return False
        try:
            tensors, _ = read_format(path, _FORMAT, "Run again")
        except ModelFileError:
            return False
        with torch.no_grad():
            for name, parameter in _trained(self.trained).items():
                parameter.copy_(tensors[f"weight.{name}"])
                self.average[name].copy_(tensors[f"average.{name}"])
                moments = {m: tensors[f"{m}.{name}"].to(parameter) for m in _MOMENTS}
                steps = torch.tensor(float(len(tensors["losses"])))
                self.optimizer.state[parameter] = {"step": steps, **moments}
        self.losses[:] = tensors["losses"].tolist()
        return True


def new_average(trained: nn.Module) -> dict[str, Tensor]:
    """The average before the first step: the parameters themselves."""
    return {name: p.detach().clone() for name, p in _trained(trained).items()}


def run_name(tensors: Mapping[str, Tensor], settings: Mapping[str, object]) -> str:
    """A name of a run by all that shapes its result."""
    text = f"{tensor_checksum(tensors)} {sorted(settings.items())}"
    return f"unfinished_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def remove(*paths: Path) -> None:
    """Delete files of a run that has ended well."""
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}
