"""Whether a training run is going well: losses averaged over processes, finite, not diverging."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from ...errors import InputError

_SMOOTHING = 0.98
_SETTLED = 50
"""Steps after which the mean loss is taken as where the run came from."""
_DIVERGED = 10.0
_LEAST_SCALE = 2.0**-10
"""A gradient scale below this has been halved in almost every step."""
_NAMED = 8


class Health:
    """Running means of the losses, and the checks before every optimizer step.

    Args:
        folder: The work folder, for error messages.

    ``means`` holds the running mean of each loss, over all processes.
    """

    def __init__(self, accelerator: Accelerator, folder: Path) -> None:
        self.means: dict[str, float] = {}
        self._accelerator, self._folder = accelerator, folder
        self._seen: list[dict[str, Tensor]] = []
        self._keys: list[list[str]] = []
        self._steps, self._start = 0, 0.0

    def see(self, losses: Mapping[str, Tensor], batch: Mapping[str, Any] | None) -> None:
        """Note the losses of a batch and which records it holds."""
        self._seen.append({name: value.detach().float() for name, value in losses.items()})
        self._keys.append([] if batch is None else list(batch.get("key", ())))

    def check(self, step: int, norm: Tensor | float | None) -> dict[str, float]:
        """Update the means, or stop the run while the weights are still good.

        Args:
            step: 0-based. norm: Of the gradients, before clipping.

        Returns:
            The losses of the step: means over its batches and all processes.

        Raises:
            InputError: A loss, or without a gradient scaler a gradient, is not finite; or the loss
                has diverged.
        """
        names = list(self._seen[0])
        here = torch.stack([torch.stack([seen[n] for n in names]) for seen in self._seen])
        means: list[float] = self._mean_of_processes(here.mean(0)).tolist()
        values = dict(zip(names, means, strict=True))
        loss = values[names[0]]
        batches, self._seen, self._keys = self._keys, [], []
        keys = [key for batch in batches for key in batch]
        if not math.isfinite(loss):
            finite = here[:, 0].isfinite().tolist()
            bad = [
                k for batch, well in zip(batches, finite, strict=True) if not well for k in batch
            ]
            raise self._stopped(f"the loss of step {step + 1} is {loss}", bad)
        scaler = self._accelerator.scaler
        if scaler is None:
            if norm is not None and not math.isfinite(float(norm)):
                raise self._stopped(f"the gradients of step {step + 1} are not finite", keys)
        elif scaler.get_scale() < _LEAST_SCALE:
            raise self._stopped(f"the gradients overflow in fp16 at step {step + 1}", keys)
        for name, value in values.items():
            before = self.means.get(name, value)
            self.means[name] = _SMOOTHING * before + (1 - _SMOOTHING) * value
        self._steps += 1
        mean = self.means[names[0]]
        if self._steps == _SETTLED:
            self._start = mean
        if self._steps > _SETTLED and mean > _DIVERGED * self._start > 0:
            found = f"the loss has risen from {self._start:.4g} to {mean:.4g} at step {step + 1}"
            raise self._stopped(found, keys)
        return values

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        return {"means": dict(self.means), "steps": self._steps, "start": self._start}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.means = dict(state["means"])
        self._steps, self._start = int(state["steps"]), float(state["start"])

    def _mean_of_processes(self, values: Tensor) -> Tensor:
        if self._accelerator.num_processes == 1:
            return values
        mean: Any = self._accelerator.reduce(values.to(self._accelerator.device), "mean")
        return mean

    def _stopped(self, what: str, keys: list[str]) -> InputError:
        """The error with the images concerned, in all processes together."""
        keys = gather_object(keys)
        shown = ", ".join(keys[:_NAMED]) + (", ..." if len(keys) > _NAMED else "")
        batch = f"its batch: {shown}; " if keys else ""
        return InputError(
            f"{what}, and training has stopped before it spoils the weights",
            where=f"{batch}last good state in {self._folder}",
            fix="Start anew with a lower rate or precision bf16, or without damaged images",
        )
