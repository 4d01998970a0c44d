"""The host's executor: progress and interruption inside a node, blocking of what follows it.

Host object used: ``ExecutionBlocker`` (0.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import comfy.model_management as mm
import comfy.utils
from comfy_execution.graph_utils import ExecutionBlocker

T = TypeVar("T")


def steps(count: int) -> Callable[[], None]:
    """A function to call after each of ``count`` steps.

    It moves the progress bar, and raises the host's exception when the user has stopped the run.
    """
    bar = comfy.utils.ProgressBar(count)

    def step() -> None:
        bar.update(1)
        mm.throw_exception_if_processing_interrupted()

    return step


def stepped(items: Iterable[T], step: Callable[[], None]) -> Iterator[T]:
    """The items; ``step`` is called after each, when the next one is asked for."""
    for item in items:
        yield item
        step()


def progress() -> Callable[[int, int], None]:
    """As :func:`steps`, for work that says how much is done, of how much."""
    bar = comfy.utils.ProgressBar(1)

    def show(done: int, total: int) -> None:
        bar.update_absolute(done, total)
        mm.throw_exception_if_processing_interrupted()

    return show


def blocked(why: str | None = None) -> Any:
    """A value for an output: nodes connected to it do not run, and the run still succeeds.

    why: Message shown at the first of those nodes.
    """
    return ExecutionBlocker(why)
