"""Faces in a batch of images: which of them are meant, and what happens where there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError
from .analyzers import FaceAnalyzer, find_faces
from .face import Face, in_order, pick

ERROR, SKIP, PASS_THROUGH = "error", "skip", "pass through"
ON_MISSING = (ERROR, SKIP, PASS_THROUGH)
_MOST_REPORTED = 6
"""Images that a report tells of one by one."""


@dataclass(frozen=True)
class FaceSelection:
    """Which faces of an image are meant.

    order: One of ``faces.face.ORDERS``; faces are counted from 0 in it, **before** the limits below
        leave any out.
    index: Only the face of this number; all when left out.
    min_score: Leave out what the detector is less sure of, 0..1.
    min_size: Leave out faces whose box is smaller than this on its longer side, in pixels.
    retry: Look again at an image made smaller by a border when nothing is found.
    """

    order: str = "left to right"
    index: int | None = None
    min_score: float = 0.0
    min_size: float = 0.0
    retry: bool = True

    def accepts(self, face: Face) -> bool:
        """Whether a face is sure and large enough."""
        left, top, right, bottom = face.box
        return face.score >= self.min_score and max(right - left, bottom - top) >= self.min_size


@dataclass(frozen=True, eq=False)
class Detection:
    """What one image showed.

    faces: All of them, in order.
    chosen: Numbers of those that are meant.
    trouble: Why there is none, as a clause; empty if there is one.
    """

    faces: tuple[Face, ...]
    chosen: tuple[int, ...]
    problem: str = ""


def detect_faces(
    analyzer: FaceAnalyzer,
    images: Iterable[Tensor],
    wanted: FaceSelection,
    each: Callable[[], None] = lambda: None,
) -> list[Detection]:
    """Look at images [C, H, W] one by one; one that cannot be used costs no other its result.

    Args:
        each: Called after every image (progress, interruption).

    Raises:
        InputError: The order is unknown. Troubles of single images are told in their results.
    """
    in_order([], wanted.order)
    detections = []
    for image in images:
        detections.append(_detect(analyzer, image, wanted))
        each()
    return detections


def remaining(detections: Sequence[Detection], on_missing: str, where: str) -> list[int]:
    """Numbers of the images to go on with.

    Args:
        on_missing: ``error``: every image needs a face; ``skip``: those without are left out
            (perhaps all); ``pass through``: all stay.

    Raises:
        InputError: With ``error``, an image has no face: the sentence says which and why.
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
            fix="Use other images, or choose skip or pass through",
        )
    return [i for i, detection in enumerate(detections) if not detection.problem]


def report(detections: Sequence[Detection]) -> str:
    """One line: how many images show how many of the faces that are meant, and the troubles."""
    good = sum(not detection.problem for detection in detections)
    faces = sum(len(detection.chosen) for detection in detections)
    text = f"{good} of {len(detections)} images with a face, {_faces(faces)}"
    return f"{text}; {problems(detections)}" if good < len(detections) else text


def problems(detections: Sequence[Detection]) -> str:
    """The troubles of single images, counted from 1, as one clause; empty if there are none."""
    if len(detections) == 1:
        return detections[0].problem
    told = [
        f"image {i}: {detection.problem}"
        for i, detection in enumerate(detections, 1)
        if detection.problem
    ]
    more = len(told) - _MOST_REPORTED
    return "; ".join([*told[:_MOST_REPORTED], *([f"and {more} more"] if more > 0 else [])])


def _detect(analyzer: FaceAnalyzer, image: Tensor, wanted: FaceSelection) -> Detection:
    faces: list[Face] = []
    numbers: Sequence[int] = ()
    try:
        faces = find_faces(analyzer, image, order=wanted.order, retry=wanted.retry)
        numbers = range(len(faces))
        if faces and wanted.index is not None:
            pick(faces, wanted.index)
            numbers = [wanted.index]
    except InputError as error:
        return Detection(tuple(faces), (), error.what)
    chosen = tuple(i for i in numbers if wanted.accepts(faces[i]))
    if chosen:
        return Detection(tuple(faces), chosen)
    small = f"{_faces(len(numbers))} found, but too unsure or too small"
    return Detection(tuple(faces), (), small if faces else "no face was found")


def _faces(count: int) -> str:
    return f"{count} face{'' if count == 1 else 's'}"
