"""The curve of a run, ``curve.jsonl`` in its work folder: a line of numbers every few steps.

A resumed run continues it where its state was saved: lines of steps that were lost are removed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...readers.json_text import parse_json
from ...storage import atomic_path, writing

CURVE = "curve.jsonl"
Point = dict[str, Any]
"""``step``, ``seconds``, and a number by name; None where there is none."""


def read_curve(folder: Path) -> list[Point]:
    """The points of a run, in order; empty without a curve.

    Raises:
        InputError: It cannot be read.
    """
    points = [_point(line) for line in _lines(folder)]
    return [point for point in points if point is not None]


def append_point(folder: Path, point: Mapping[str, float | None]) -> None:
    """Append a line.

    Raises:
        InputError: The folder cannot be written to.
    """
    path = folder / CURVE
    with writing(path), path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(dict(point), allow_nan=False) + "\n")


def cut_curve(folder: Path, step: int) -> None:
    """Remove the lines after a step, and what a killed run left of a line.

    Raises:
        InputError: The folder cannot be written to.
    """
    lines = _lines(folder)
    kept = [line for line in lines if (point := _point(line)) is not None and point["step"] <= step]
    if kept != lines:
        with atomic_path(folder / CURVE) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _lines(folder: Path) -> list[str]:
    path = folder / CURVE
    with writing(path):
        return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []


def _point(line: str) -> Point | None:
    """A line as a point; None for half of one."""
    with suppress(ValueError):
        point = parse_json(line)
        if isinstance(point, dict) and isinstance(point.get("step"), int):
            return point
    return None
