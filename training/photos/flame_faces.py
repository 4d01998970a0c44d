"""Faces for a flame map: what the landmarker and SMIRK read from a folder of photographs.

Each photograph is also read mirrored: FLAME's coefficients have no sides that could be exchanged.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...faces.analyzers import FaceAnalyzer
from ...faces.blendshapes import ARKIT_NAMES
from ...faces.face import Face
from ...pipelines.face_report import FaceReport, Finding
from ..data.people import people_of
from .flame_map import FOLDS


@dataclass(frozen=True, eq=False)
class FlameFaces:
    """What was read.

    blendshapes: [N, 51]. flame: [N, 55]. people: Number of the person of each face, or of the
    photograph if there are too few people. images: Photographs with a face.
    skipped: A line for each photograph without a face or that cannot be read.
    """

    blendshapes: Tensor
    flame: Tensor
    people: tuple[int, ...]
    images: int
    skipped: tuple[str, ...]


def read_flame_faces(
    folder: Path,
    analyzer: Callable[[], FaceAnalyzer],
    settings: str,
    kept: Path | None = None,
) -> FlameFaces:
    """The largest face of each photograph, as it is and mirrored.

    Args:
        folder: A subfolder for each person, or photographs.
        analyzer: Makes the analyzer with blendshapes and FLAME's numbers, when it is needed.
        settings: Names the analyzer's files; results of other settings are not reused.
        kept: Results file (``pipelines.face_report``): a stopped run continues where it was.

    Raises:
        FacePackError: The folder is missing or empty, or the analyzer or the results file cannot
            be used.
    """
    groups = people_of(folder)
    numbers = {path: person.subject_id for person in groups for path in person.images}
    if len(groups) < FOLDS:
        numbers = {path: number for number, path in enumerate(numbers)}
    make = cache(analyzer)
    rows: list[tuple[list[float], list[float], int]] = []
    skipped: list[str] = []
    files = list(numbers)
    for mirrored in (False, True):
        found: list[Path] = []
        report = FaceReport(
            (lambda: _Mirrored(make())) if mirrored else make,
            kept,
            f"{settings}{' mirrored' if mirrored else ''}",
        )
        for path, outcome in zip(files, report.look(files, bar=True), strict=True):
            face = None if isinstance(outcome, str) else _largest(outcome)
            if face is None:
                skipped.append(outcome if isinstance(outcome, str) else f"{path}: no face")
                continue
            blendshapes = [face["blendshapes"].get(name, 0.0) for name in ARKIT_NAMES]
            rows.append((blendshapes, face["flame"], numbers[path]))
            found.append(path)
        files = found if not mirrored else files
    blendshapes, flame, people = zip(*rows, strict=True) if rows else ((), (), ())
    return FlameFaces(
        torch.tensor(blendshapes), torch.tensor(flame), people, len(files), tuple(skipped)
    )


class _Mirrored:
    """Another analyzer on the mirrored image; coordinates are those of that image."""

    def __init__(self, analyzer: FaceAnalyzer) -> None:
        self._analyzer, self.name = analyzer, analyzer.name

    def find(self, image: Tensor) -> list[Face]:
        return self._analyzer.find(image.flip(-1))


def _largest(finding: Finding) -> dict[str, Any] | None:
    """The largest face that has both; None without one."""
    faces = [f for f in json.loads(finding.json)["faces"] if f["blendshapes"] and f.get("flame")]
    return max(faces, key=_area, default=None)


def _area(face: dict[str, Any]) -> float:
    left, top, right, bottom = face["box"]
    return (right - left) * (bottom - top)
