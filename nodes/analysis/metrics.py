"""Common to all Measure nodes: a number, its text, and which images were not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...errors import InputError
from ..inputs import output

if TYPE_CHECKING:
    from ...faces.detection import Detection

CATEGORY = "face/analysis"
MEASURED_TIP = "The images to measure; in each the largest face is used."


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
