"""The numbers of a training run: means over the steps since the last line of the curve."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Number = float | None


@dataclass
class Metrics:
    """Collects the losses, gradient norms and durations of the steps since the last line.

    images: Images in a step of all processes; None where that is not known.
    """

    images: int | None = None
    steps: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)
    _since: float = field(default_factory=time.monotonic)

    def resume_clock(self) -> None:
        """Do not count what has been done since the last step, such as saving."""
        self._since = time.monotonic()

    def add(self, losses: Mapping[str, float], norm: Tensor | float | None) -> None:
        """Add a step.

        Args:
            losses: Means over all processes. norm: Of the gradients, before clipping; one that has
                overflowed in fp16 does not count.
        """
        now = time.monotonic()
        self.seconds += now - self._since
        self._since = now
        self.steps += 1
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value
        if norm is not None and math.isfinite(float(norm)):
            self.norms.append(float(norm))

    def take(self, rate: float) -> dict[str, Number]:
        """The means, with the learning rate of the last step; then start again."""
        found: dict[str, Number] = {n: total / self.steps for n, total in self.losses.items()}
        found["lr"] = rate
        found["grad_norm"] = sum(self.norms) / len(self.norms) if self.norms else None
        if self.images is not None and self.seconds > 0:
            found["samples_per_second"] = round(self.steps * self.images / self.seconds, 3)
        self.steps, self.seconds, self.losses, self.norms = 0, 0.0, {}, []
        return found

    def state_dict(self) -> dict[str, Any]:
        """The steps since the last line."""
        return {
            "steps": self.steps,
            "seconds": self.seconds,
            "losses": dict(self.losses),
            "norms": list(self.norms),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.steps, self.seconds = int(state["steps"]), float(state["seconds"])
        self.losses, self.norms = dict(state["losses"]), list(state["norms"])
        self.resume_clock()
