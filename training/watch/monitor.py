"""What a run shows: ``curve.jsonl``, ``curve.png``, ``validation/`` and TensorBoard's events.

All of it is in the work folder and written by the main process. A resumed run continues it: what an
earlier run wrote after the state that it resumes from is removed.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from PIL import Image
from torch import nn

from ...errors import FacePackError
from ...storage import atomic_path, writing
from ..runs.processes import on_main
from .chart import CHART, HELD_OUT, can_draw, draw_curves
from .curve import CURVE, append_point, cut_curve, read_curve
from .learning_check import compare, sentence
from .metrics import Metrics
from .tensorboard import FOLDER, TensorBoard
from .validation import Validation, batch_losses

log = logging.getLogger(__name__)
SHEETS = "validation"
_SHEET = re.compile(r"step-([0-9]{8,12})\.png")


class Monitor:
    """The curves and validations of one run.

    Args:
        folder: The work folder. every: Steps between lines of the curve. steps: Of the run.
        rate: Peak learning rate. images: In a step of all processes; None where that is not known.
        validation: None for none.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every: int,
        steps: int,
        rate: float,
        images: int | None,
        validation: Validation | None,
    ) -> None:
        self._folder, self._every, self._steps, self._rate = folder, every, steps, rate
        self.metrics, self.validation = Metrics(images), validation
        self._start: list[float] = []
        self._board: TensorBoard | None = None
        self._draws = False

    def open(self, step: int, *, tensorboard: bool) -> None:
        """Begin, or go on after ``step`` steps.

        Raises:
            InputError: The folder cannot be written to, or the library tensorboard is missing.
        """
        self._draws = can_draw()
        cut_curve(self._folder, step or -1)  # a new run begins with a line of its own
        with writing(self._folder):
            for path in (self._folder / SHEETS).glob("step-*.png"):
                match = _SHEET.fullmatch(path.name)
                if match and int(match[1]) > step:
                    path.unlink(missing_ok=True)
        if tensorboard:
            self._board = TensorBoard(self._folder, step)

    def close(self) -> None:
        """Write what is left."""
        if self._board is not None:
            self._board.close()

    def show(
        self,
        step: int,
        seconds: float,
        rate: float,
        averaged: Callable[[], AbstractContextManager[nn.Module]],
    ) -> None:
        """Validate and write what is due after a step; called in all processes.

        Args:
            seconds: Of the training so far. rate: Of the step.
            averaged: The task with its averaged weights, ready to be evaluated.

        Raises:
            InputError: The images of the data set cannot be used, or nothing can be written.
        """
        validation = self.validation
        if validation is not None and not validation.acts(step, self._steps):
            validation = None
        full = step > 0 and (step % self._every == 0 or step == self._steps)
        if not full and validation is None:
            return
        means = self.metrics.take(rate) if full else {}

        def write() -> None:
            held_out: dict[str, float] = {}
            if validation is not None:
                with averaged() as task:
                    held_out = self._validate(step, task, validation)
            if full or held_out:
                self._write(step, seconds, {**means, **held_out})

        on_main(write)
        self.metrics.resume_clock()

    def draw(self) -> None:
        """Draw the curves anew.

        Raises:
            InputError: The image cannot be written.
        """
        if self._draws:
            draw_curves(read_curve(self._folder), self._folder / CHART, self._folder.name)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        return {"metrics": self.metrics.state_dict(), "start": list(self._start)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        self.metrics.load_state_dict(state["metrics"])
        self._start = list(state["start"])

    def _write(self, step: int, seconds: float, numbers: Mapping[str, float | None]) -> None:
        append_point(self._folder, {"step": step, "seconds": round(seconds, 1), **numbers})
        if self._board is not None:
            self._board.add(step, numbers)

    def _validate(self, step: int, task: nn.Module, validation: Validation) -> dict[str, float]:
        """Mean losses of the people who are held out."""
        found = batch_losses(task, validation.batches)
        if validation.checks(step, self._steps):
            self._check(step, [each[validation.criterion] for each in found], validation)
        if not validation.due(step, self._steps):
            return {}
        if validation.draw is not None:
            self._draw_sheet(step, validation.draw)
        return {HELD_OUT + n: sum(each[n] for each in found) / len(found) for n in found[0]}

    def _check(self, step: int, losses: list[float], validation: Validation) -> None:
        if step == 0:
            self._start = losses
        elif len(self._start) == len(losses):
            found = compare(self._start, losses)
            level = logging.INFO if found.learns else logging.WARNING
            log.log(level, "%s", sentence(found, step, self._rate, validation.people))

    def _draw_sheet(self, step: int, draw: Callable[[], Image.Image]) -> None:
        try:
            sheet = draw()
        except FacePackError as error:
            log.warning("no validation images: %s", error)
            return
        with atomic_path(self._folder / SHEETS / f"step-{step:08d}.png") as temporary:
            sheet.save(temporary)
        if self._board is not None:
            self._board.add_image(step, SHEETS, sheet)


def newest_sheet(folder: Path) -> tuple[int, Path] | None:
    """The last validation images, and after how many steps they were drawn; None without any."""
    found = [(_SHEET.fullmatch(path.name), path) for path in (folder / SHEETS).glob("step-*.png")]
    return max(((int(match[1]), path) for match, path in found if match), default=None)


def clear(folder: Path) -> None:
    """Remove curves, validation images and events.

    Raises:
        InputError: They cannot be removed.
    """
    with writing(folder):
        for name in (CURVE, CHART):
            (folder / name).unlink(missing_ok=True)
        for name in (SHEETS, FOLDER):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
