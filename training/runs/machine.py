"""What a run needs of this machine, checked before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...errors import InputError
from ..watch.tensorboard import summary_writer
from .optimizer import adamw8bit
from .processes import process_state

if TYPE_CHECKING:
    from .loop import Schedule

_CPU = torch.device("cpu")


def require_machine(schedule: Schedule) -> None:
    """Raise InputError where a run's precision needs a GPU, or a library is missing.

    The loop would say so as well, but only once a cache of hours is filled.
    """
    if schedule.precision == "fp16" and (process_state().device or _CPU).type == "cpu":
        raise no_scaler()
    if schedule.optimizer == "adamw8bit":
        adamw8bit()
    if schedule.tensorboard:
        summary_writer()


def no_scaler() -> InputError:
    """The error for fp16 where it would overflow."""
    return InputError(
        "fp16 needs a GPU: gradients cannot be scaled here", fix="Use precision bf16 or no"
    )
