"""What all meters have in common: a number, a line, and an account of what was not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...errors import InputError

if TYPE_CHECKING:
    from ...faces.detection import Look

CATEGORY = "face/analysis"
MEASURED_TIP = "The pictures to be measured; in each the largest face counts."


def text_output() -> Any:
    """The line that every meter gives beside its number."""
    return io.String.Output("text", display_name="text", tooltip="The measurement in words.")


def with_face(looks: list[Look], where: str) -> list[int]:
    """Numbers of the pictures that can be measured; InputError if there is none."""
    from ...faces.detection import SKIP, remaining, troubles

    kept = remaining(looks, SKIP, where)
    if not kept:
        raise InputError(
            troubles(looks), where=where, fix="Use a picture in which one face is large enough"
        )
    return kept


def account(looks: list[Look]) -> str:
    """What could not be measured, to be added to a line; empty if all was."""
    from ...faces.detection import report

    return f"; {report(looks)}" if any(look.trouble for look in looks) else ""


def mean(values: list[float]) -> float:
    """Of at least one value."""
    return sum(values) / len(values)
