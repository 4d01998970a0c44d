"""Common to all Measure nodes: a number, its text and bars, and which images were not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from ...errors import InputError
from ..inputs import output

if TYPE_CHECKING:
    from ...faces.detection import Detection

CATEGORY = "face/analysis"
MEASURED_TIP = "The images to measure; in each the largest face is used."


@dataclass(frozen=True)
class Bar:
    """A result as ``web/js/results.js`` draws it in the node.

    fraction: Its length, 0..1.
    number: The result with its unit, as text.
    meaning: What it says in words, a key of ``MEANINGS`` there; empty where it says nothing.
    mark: Where a threshold is marked, 0..1.
    image: Number of the image from 1; None for a single image.
    by: The recogniser, where there are two.
    """

    fraction: float
    number: str
    meaning: str = ""
    mark: float | None = None
    image: int | None = None
    by: str = ""


def measured(text: str, bars: Sequence[Bar]) -> dict[str, Any]:
    """The ``ui`` of a node: its text, and a bar for each result."""
    return ui.PreviewText(text).as_dict() | {"measured_bars": [asdict(bar) for bar in bars]}


def image_number(index: int, count: int) -> int | None:
    """2 for index 1 of several, as the text counts; None for a single image."""
    return index + 1 if count > 1 else None


def text_output() -> Any:
    """STRING, the text that every Measure node gives with its number."""
    return output(io.String, "text", "The result as text.")


def with_face(detections: list[Detection], where: str) -> list[int]:
    """Indices of the images that can be measured; raises InputError if there are none."""
    from ...faces.detection import SKIP, fix_of, problems, remaining

    kept = remaining(detections, SKIP, where)
    if not kept:
        raise InputError(
            problems(detections),
            where=where,
            fix=fix_of(detections, "Use an image in which one face is large enough"),
        )
    return kept


def account(detections: list[Detection]) -> str:
    """Which images could not be measured, to append to the text; empty if all were."""
    from ...faces.detection import report

    return f"; {report(detections)}" if any(detection.problem for detection in detections) else ""


def mean(values: list[float]) -> float:
    """The mean of at least one value."""
    return sum(values) / len(values)
