"""The record of one detected face, as every analyzer returns it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from .identity import Identity

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

#: Landmark schemes: name to the number of points. ``mesh``: MediaPipe's face mesh with irises;
#: ``ibug``: the 68 points of iBUG; ``five``: eye, eye, nose, mouth corner, mouth corner, from the
#: left of the image to its right (of an upright face); ``none``: no landmarks.
SCHEMES: dict[str, int] = {"mesh": 478, "ibug": 68, "five": 5, "none": 0}

#: Landmarks whose mean is each of the five points.
_FIVE: dict[str, tuple[tuple[int, ...], ...]] = {
    # Corners of the lids, not the irises, which move with the gaze.
    "mesh": ((33, 133), (362, 263), (4,), (61,), (291,)),
    "ibug": (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),
    "five": ((0,), (1,), (2,), (3,), (4,)),
}


class HeadPose(NamedTuple):
    """Head pose in degrees (``docs/conventions.md``).

    yaw > 0: nose to the image's left; pitch > 0: nose up; roll > 0: clockwise as seen.
    """

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, eq=False)
class Face:
    """One face in one image.

    Pixel coordinates start at the corner of the image: the centre of the first pixel is (0.5, 0.5).

    Args:
        image_size: Width and height of the image it was found in.
        box: Box of the face; may extend beyond the image.
        score: Confidence of the detector, 0..1.
        landmarks: [N, 2 or 3], float32 on the CPU: x, y in pixels; z, if any, in pixels too,
            smaller = nearer to the viewer.
        scheme: The landmark scheme, a key of :data:`SCHEMES`.
        five: [5, 2] in the order of scheme ``five``; derived from the landmarks if None.
        blendshapes: Value, about 0..1, by ARKit name (``faces.blendshapes``); MediaPipe adds
            ``_neutral`` as the 52nd. None if the analyzer gives none.
        pose: Head pose in Euler order zyx (``faces.head_pose``), if measured.
        identity: Identity vector, if the analyzer computes one.
        flame: FLAME's numbers of the expression [55] (``faces.flame``), if SMIRK estimated them.
        source: Name of the analyzer.

    Raises:
        InputError: The shapes do not match the scheme, the box is empty, or a coordinate is not
            finite.
    """

    image_size: tuple[int, int]
    box: Box
    score: float
    landmarks: Tensor
    scheme: str
    source: str
    five: Tensor | None = None
    blendshapes: dict[str, float] | None = None
    pose: HeadPose | None = None
    identity: Identity | None = None
    flame: Tensor | None = None

    def __post_init__(self) -> None:
        """Check the shapes and derive the five points."""
        landmarks = self.landmarks.detach().to("cpu", torch.float32)
        count = SCHEMES.get(self.scheme)
        if count is None or landmarks.ndim != 2 or len(landmarks) != count:
            raise InputError(
                f"the landmarks have shape {list(landmarks.shape)}, "
                f"which is not that of the scheme {self.scheme!r}",
                where=self.source,
                fix=f"Use one of {', '.join(f'{k} ({n} points)' for k, n in SCHEMES.items())}",
            )
        five = self.five
        if five is None and count:
            five = five_points(landmarks, self.scheme)
        if five is not None:
            five = five.detach().to("cpu", torch.float32)
            if five.shape != (5, 2):
                raise InputError(
                    f"five points with x and y are needed, got shape {list(five.shape)}",
                    where=self.source,
                    fix="Give eye, eye, nose, mouth corner, mouth corner",
                )
        box = torch.tensor(self.box, dtype=torch.float32)
        for values in (box, landmarks, five):
            if values is not None and not bool(torch.isfinite(values).all()):
                raise InputError(
                    "the face has coordinates that are not numbers",
                    where=self.source,
                    fix="Use another image",
                )
        if not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise InputError(
                f"the face box {tuple(round(v, 1) for v in self.box)} is empty",
                where=self.source,
                fix="Give left, top, right, bottom in pixels",
            )
        object.__setattr__(self, "landmarks", landmarks)
        object.__setattr__(self, "five", five)

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])

    def moved(
        self, image_size: tuple[int, int], *, scale: float = 1, x: float = 0, y: float = 0
    ) -> Face:
        """The same face in an image of another size: coordinates times ``scale``, then shifted."""
        left, top, right, bottom = (scale * value for value in self.box)
        shift = torch.zeros(self.landmarks.shape[-1])
        shift[:2] = torch.tensor([x, y])
        return replace(
            self,
            image_size=image_size,
            box=(left + x, top + y, right + x, bottom + y),
            landmarks=scale * self.landmarks + shift,
            five=None if self.five is None else scale * self.five + shift[:2],
        )

    def require_five(self) -> Tensor:
        """The five points [5, 2]; raises InputError if the face has none."""
        if self.five is None:
            raise InputError(
                "the face has a box but no points",
                where=self.source,
                fix="Use an analyzer that finds landmarks, or type five points in",
            )
        return self.five

    def require_size(self, width: int, height: int) -> None:
        """Raise InputError unless the face was found in an image of this size, in pixels."""
        if self.image_size != (width, height):
            found = "x".join(map(str, self.image_size))
            raise InputError(
                f"the face was found in an image of {found} px, this one has {width}x{height}",
                where=self.source,
                fix="Connect the image in which the faces were detected",
            )


def five_points(landmarks: Tensor, scheme: str) -> Tensor:
    """[N, 2 or 3] of a scheme with points -> [5, 2]: eyes, nose tip, mouth corners."""
    return torch.stack([landmarks[list(group), :2].mean(0) for group in _FIVE[scheme]])


ORDERS = ("left to right", "top to bottom", "largest first")


def in_order(faces: list[Face], order: str) -> list[Face]:
    """Sort faces by the centres or areas of their boxes; the sort is stable.

    Raises:
        InputError: The order is unknown.
    """
    if order not in ORDERS:
        raise InputError(
            "the order of faces is unknown", where=order, fix=f"Use one of {', '.join(ORDERS)}"
        )
    if order == "left to right":
        return sorted(faces, key=lambda face: face.box[0] + face.box[2])
    if order == "top to bottom":
        return sorted(faces, key=lambda face: face.box[1] + face.box[3])
    return sorted(faces, key=lambda face: -face.area)


def pick(faces: list[Face], index: int) -> Face:
    """The face with this index; raises InputError, naming the count, if it does not exist."""
    if not 0 <= index < len(faces):
        many = f"{len(faces)} face{'s' if len(faces) != 1 else ''}"
        raise InputError(
            f"face index {index} does not exist: {many} found",
            fix=f"Use 0 to {len(faces) - 1}" if faces else "Use an image with a face",
        )
    return faces[index]
