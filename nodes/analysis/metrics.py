"""What all meters have in common: a number, a line, and an account of what was not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...errors import InputError

if TYPE_CHECKING:
    from ...faces.detection import Detection

CATEGORY = "face/analysis"
MEASURED_TIP = "The images to be measured; in each the largest face counts."


def text_output() -> Any:
    """The line that every meter gives beside its number."""
    return io.String.Output("text", display_name="text", tooltip="The measurement in words.")


def with_face(detections: list[Detection], where: str) -> list[int]:
    """Numbers of the images that can be measured; InputError if there is none."""
    from ...faces.detection import SKIP, problems, remaining

    kept = remaining(detections, SKIP, where)
    if not kept:
        raise InputError(
            problems(detections), where=where, fix="Use an image in which one face is large enough"
        )
    return kept


def account(detections: list[Detection]) -> str:
    """What could not be measured, to be added to a line; empty if all was."""
    from ...faces.detection import report

    return f"; {report(detections)}" if any(detection.problem for detection in detections) else ""


def mean(values: list[float]) -> float:
    """Of at least one value."""
    return sum(values) / len(values)
