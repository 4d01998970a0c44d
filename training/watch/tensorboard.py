"""Numbers and validation sheets for TensorBoard, in the folder ``tensorboard`` of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...errors import InputError

FOLDER = "tensorboard"


class TensorBoard:
    """Writes events.

    Args:
        folder: The work folder.
        step: Events after it, of an earlier run that was killed, are hidden.

    Raises:
        InputError: The library tensorboard is missing.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._writer: Any = summary_writer()(str(folder / FOLDER), purge_step=step + 1)

    def add(self, step: int, numbers: Mapping[str, float | None]) -> None:
        """Add the numbers of a step."""
        for name, value in numbers.items():
            if value is not None:
                self._writer.add_scalar(name, value, step)

    def add_image(self, step: int, name: str, image: Image.Image) -> None:
        """Add an image of a step."""
        self._writer.add_image(name, np.asarray(image.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


def summary_writer() -> Any:
    """The class that writes events.

    Raises:
        InputError: The library tensorboard is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "TensorBoard's events need the library tensorboard",
            where="--tensorboard",
            fix="Install it with pip install tensorboard, or leave the option out",
        ) from error
    return SummaryWriter
