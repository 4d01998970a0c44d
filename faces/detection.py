"""Faces in a batch of pictures: which of them are meant, and what happens where there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import InputError
from .analyzers import FaceAnalyzer, find_faces
from .face import Face, in_order, pick

ERROR, SKIP, PASS_THROUGH = "error", "skip", "pass through"
ON_MISSING = (ERROR, SKIP, PASS_THROUGH)
_MOST_TOLD = 6
"""Pictures that a report tells of one by one."""


@dataclass(frozen=True)
class Wanted:
    """Which faces of a picture are meant.

    order: One of ``faces.face.ORDERS``; faces are counted from 0 in it, **before** the limits below
        leave any out.
    index: Only the face of this number; all when left out.
    min_score: Leave out what the detector is less sure of, 0..1.
    min_size: Leave out faces whose box is smaller than this on its longer side, in pixels.
    retry: Look again at a picture made smaller by a border when nothing is found.
    """

    order: str = "left to right"
    index: int | None = None
    min_score: float = 0.0
    min_size: float = 0.0
    retry: bool = True

    def lets_pass(self, face: Face) -> bool:
        """Whether a face is sure and large enough."""
        left, top, right, bottom = face.box
        return face.score >= self.min_score and max(right - left, bottom - top) >= self.min_size


@dataclass(frozen=True, eq=False)
class Look:
    """What one picture showed.

    faces: All of them, in order.
    chosen: Numbers of those that are meant.
    trouble: Why there is none, as a clause; empty if there is one.
    """

    faces: tuple[Face, ...]
    chosen: tuple[int, ...]
    trouble: str = ""


def look_at(
    analyzer: FaceAnalyzer,
    pictures: Iterable[Tensor],
    wanted: Wanted,
    each: Callable[[], None] = lambda: None,
) -> list[Look]:
    """Look at pictures [C, H, W] one by one; one that cannot be used costs no other its result.

    Args:
        each: Called after every picture (progress, interruption).

    Raises:
        InputError: The order is unknown. Troubles of single pictures are told in their results.
    """
    in_order([], wanted.order)
    looks = []
    for picture in pictures:
        looks.append(_look(analyzer, picture, wanted))
        each()
    return looks


def remaining(looks: Sequence[Look], on_missing: str, where: str) -> list[int]:
    """Numbers of the pictures to go on with.

    Args:
        on_missing: ``error``: every picture needs a face; ``skip``: those without are left out
            (perhaps all); ``pass through``: all stay.

    Raises:
        InputError: With ``error``, a picture has no face: the sentence says which and why.
    """
    if on_missing not in ON_MISSING:
        raise InputError(
            "what to do without a face is unknown",
            where=on_missing,
            fix=f"Use one of {', '.join(ON_MISSING)}",
        )
    if on_missing == PASS_THROUGH:
        return list(range(len(looks)))
    if on_missing == ERROR and any(look.trouble for look in looks):
        raise InputError(
            troubles(looks),
            where=where,
            fix="Use other pictures, or choose skip or pass through",
        )
    return [i for i, look in enumerate(looks) if not look.trouble]


def report(looks: Sequence[Look]) -> str:
    """One line: how many pictures show how many of the faces that are meant, and the troubles."""
    good = sum(not look.trouble for look in looks)
    faces = sum(len(look.chosen) for look in looks)
    text = f"{good} of {len(looks)} pictures with a face, {_faces(faces)}"
    return f"{text}; {troubles(looks)}" if good < len(looks) else text


def troubles(looks: Sequence[Look]) -> str:
    """The troubles of single pictures, counted from 1, as one clause; empty if there are none."""
    if len(looks) == 1:
        return looks[0].trouble
    told = [f"picture {i}: {look.trouble}" for i, look in enumerate(looks, 1) if look.trouble]
    more = len(told) - _MOST_TOLD
    return "; ".join([*told[:_MOST_TOLD], *([f"and {more} more"] if more > 0 else [])])


def _look(analyzer: FaceAnalyzer, picture: Tensor, wanted: Wanted) -> Look:
    faces: list[Face] = []
    numbers: Sequence[int] = ()
    try:
        faces = find_faces(analyzer, picture, order=wanted.order, retry=wanted.retry)
        numbers = range(len(faces))
        if faces and wanted.index is not None:
            pick(faces, wanted.index)
            numbers = [wanted.index]
    except InputError as error:
        return Look(tuple(faces), (), error.what)
    chosen = tuple(i for i in numbers if wanted.lets_pass(faces[i]))
    if chosen:
        return Look(tuple(faces), chosen)
    small = f"{_faces(len(numbers))} found, but too unsure or too small"
    return Look(tuple(faces), (), small if faces else "no face was found")


def _faces(count: int) -> str:
    return f"{count} face{'' if count == 1 else 's'}"
