"""Detecting the faces of a batch: which of them to use, and what to do without any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError
from .analyzers import FaceAnalyzer, find_faces
from .face import Face, in_order, pick

ERROR, SKIP, PASS_THROUGH = "error", "skip", "pass through"
ON_MISSING = (ERROR, SKIP, PASS_THROUGH)
_MAX_REPORTED = 6
"""Problems that a report lists one by one."""


@dataclass(frozen=True)
class FaceSelection:
    """Which faces of an image to use.

    order: One of ``faces.face.ORDERS``. Faces are numbered from 0 in this order, **before** the
        limits below are applied.
    index: Number of the only face to use; None for all.
    min_score: Lowest detection score, 0..1.
    min_size: Smallest longer side of the box, in pixels.
    retry: If nothing is found, try again with a border around the image.
    """

    order: str = "left to right"
    index: int | None = None
    min_score: float = 0.0
    min_size: float = 0.0
    retry: bool = True

    def accepts(self, face: Face) -> bool:
        """Whether the face reaches the lowest score and size."""
        left, top, right, bottom = face.box
        return face.score >= self.min_score and max(right - left, bottom - top) >= self.min_size


@dataclass(frozen=True, eq=False)
class Detection:
    """The faces of one image.

    faces: All of them, in order.
    chosen: Indices of those that were selected.
    problem: Why none was selected, as a clause; empty otherwise.
    fix: What to do about it, where the analyzer says so.
    """

    faces: tuple[Face, ...]
    chosen: tuple[int, ...]
    problem: str = ""
    fix: str = ""


def detect_faces(
    analyzer: FaceAnalyzer,
    images: Iterable[Tensor],
    selection: FaceSelection,
    on_image: Callable[[], None] = lambda: None,
) -> list[Detection]:
    """Find and select faces in images, one by one; a bad image does not affect the others.

    Args:
        images: [C, H, W] each, in 0..1.
        on_image: Called after every image (progress, interruption).

    Returns:
        One detection per image; what is wrong with an image is its ``problem``.

    Raises:
        InputError: The order is unknown.
    """
    in_order([], selection.order)
    detections = []
    for image in images:
        detections.append(_detect(analyzer, image, selection))
        on_image()
    return detections


def remaining(detections: Sequence[Detection], on_missing: str, where: str) -> list[int]:
    """Indices of the images to continue with.

    Args:
        on_missing: ``error``: every image needs a face; ``skip``: drop those without one (possibly
            all); ``pass through``: keep all.
        where: Name of the caller, for the error.

    Raises:
        InputError: ``on_missing`` is unknown, or with ``error``, an image has no face: the message
            says which and why.
    """
    if on_missing not in ON_MISSING:
        raise InputError(
            "what to do without a face is unknown",
            where=on_missing,
            fix=f"Use one of {', '.join(ON_MISSING)}",
        )
    if on_missing == PASS_THROUGH:
        return list(range(len(detections)))
    if on_missing == ERROR and any(detection.problem for detection in detections):
        raise InputError(
            problems(detections),
            where=where,
            fix=fix_of(detections, "Use other images, or choose skip or pass through"),
        )
    return [i for i, detection in enumerate(detections) if not detection.problem]


def report(detections: Sequence[Detection]) -> str:
    """One line: how many images have how many selected faces, and the problems."""
    good = sum(not detection.problem for detection in detections)
    faces = sum(len(detection.chosen) for detection in detections)
    text = f"{good} of {len(detections)} images with a face, {_faces(faces)}"
    return f"{text}; {problems(detections)}" if good < len(detections) else text


def problems(detections: Sequence[Detection]) -> str:
    """The problems of all images, numbered from 1, as one clause; empty if there are none."""
    if len(detections) == 1:
        return detections[0].problem
    found = [
        f"image {i}: {detection.problem}"
        for i, detection in enumerate(detections, 1)
        if detection.problem
    ]
    more = len(found) - _MAX_REPORTED
    return "; ".join([*found[:_MAX_REPORTED], *([f"and {more} more"] if more > 0 else [])])


def fix_of(detections: Sequence[Detection], otherwise: str) -> str:
    """What the analyzer says to do, unless it says several things or none."""
    fixes = {detection.fix for detection in detections} - {""}
    return fixes.pop() if len(fixes) == 1 else otherwise


def _detect(analyzer: FaceAnalyzer, image: Tensor, selection: FaceSelection) -> Detection:
    faces: list[Face] = []
    numbers: Sequence[int] = ()
    try:
        faces = find_faces(analyzer, image, order=selection.order, retry=selection.retry)
        numbers = range(len(faces))
        if faces and selection.index is not None:
            pick(faces, selection.index)
            numbers = [selection.index]
    except InputError as error:
        return Detection(tuple(faces), (), error.what, "" if faces else error.fix)
    chosen = tuple(i for i in numbers if selection.accepts(faces[i]))
    if chosen:
        return Detection(tuple(faces), chosen)
    small = f"{_faces(len(numbers))} found, but too unsure or too small"
    return Detection(tuple(faces), (), small if faces else "no face was found")


def _faces(count: int) -> str:
    return f"{count} face{'' if count == 1 else 's'}"
