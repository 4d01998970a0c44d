"""A face in a photograph: cropped at the base's size, drawn anew, pasted back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ...faces.analyzers import FaceAnalyzer, find_faces, manual_face
from ...faces.angles import ANGLE_LIMITS, Angles
from ...faces.crops.batch import place_for_face
from ...faces.crops.crop import CropPlace, cropped, pasted
from ...faces.face import Face
from ...faces.masks.polygon import polygon_mask
from ...faces.masks.region_mask import region_mask
from ...sfsr.background import checked_face_mask

PADDING = 0.25
"""Around the oriented square of the face: room for the head and some of the scene."""
GROW = 0.12
"""Margin of the mask, as a fraction of the face's size."""
SOFT = 0.03
"""Width of the transition when pasting, as a fraction of the crop."""
_BOX = 0.35
"""Half side of the mask of a face without landmarks, as a fraction of the crop."""


@dataclass(frozen=True, eq=False)
class SceneCrop:
    """One face of a scene.

    image: The whole scene [3, H, W]. face: The one in it that is drawn anew.
    crop: [1, 3, S, S]. mask: [1, 1, S, S], 1 = draw anew.
    angles: How the face is turned; None where that was not measured.
    """

    image: Tensor
    face: Face
    place: CropPlace
    crop: Tensor
    mask: Tensor
    angles: Angles | None = None

    def paste(self, drawn: Tensor) -> Tensor:
        """The scene [1, 3, H, W] with a drawn crop [1, 3, S, S]; unchanged outside the mask."""
        mask = self.mask[0, 0]
        return pasted(self.image, drawn[0].clamp(0, 1), self.place, mask, soft=SOFT)[None]

    def pasted_mask(self) -> Tensor:
        """How much :meth:`paste` takes from the drawn crop [H, W], 0..1; 0 = the scene's own."""
        nothing, all_ = torch.zeros_like(self.image[:1]), torch.ones_like(self.mask[0])
        return pasted(nothing, all_, self.place, self.mask[0, 0], soft=SOFT)[0]


def largest_face(analyzer: FaceAnalyzer, image: Tensor, where: str) -> Face:
    """The largest face of an image [3, H, W].

    Raises:
        InputError: There is none.
    """
    faces = find_faces(analyzer, image, order="largest first")
    if not faces:
        raise InputError("no face was found", where=where, fix="Use a photo with a clear face")
    return faces[0]


def scene_crop(image: Tensor, face: Face, size: int, mask: Tensor | None = None) -> SceneCrop:
    """The largest face of a scene [3, H, W] at the base's size.

    Args:
        mask: [H, W] of the whole scene, 1 = draw anew; the face's own with a margin if None.

    Raises:
        InputError: The mask covers nothing or everything of the crop.
    """
    place = place_for_face(face, size, PADDING)
    crop = cropped(image, place).clamp(0, 1)[None]
    if mask is None:
        own = _face_mask(face, place)
    else:
        own = cropped(mask[None].float(), place)[0].clamp(0, 1)
    pose = face.pose
    angles = None if pose is None else _within(pose.yaw, pose.pitch, pose.roll)
    return SceneCrop(image, face, place, crop, checked_face_mask(own[None, None], crop), angles)


def _face_mask(face: Face, place: CropPlace) -> Tensor:
    if face.landmarks is not None and face.scheme != "five":
        return region_mask(face, ["face"], grow=GROW, place=place)
    angle = torch.arange(64) * (2 * torch.pi / 64)
    middle = torch.tensor([0.5, 0.52])
    half = torch.tensor([0.8 * _BOX, _BOX])
    around = (middle + half * torch.stack([angle.cos(), angle.sin()], 1)) * place.size
    return polygon_mask(around, place.size, place.size, 0.0, 0.0)


def _within(*angles: float) -> Angles:
    yaw, pitch, roll = (
        max(-limit, min(limit, angle)) for angle, limit in zip(angles, ANGLE_LIMITS, strict=True)
    )
    return yaw, pitch, roll


def masked_crop(image: Tensor, mask: Tensor, size: int) -> SceneCrop:
    """The crop around a mask [H, W] where no analyzer is given; upright.

    Raises:
        InputError: The mask covers nothing, or everything of the crop.
    """
    inside = (mask > 0).nonzero()
    if not len(inside):
        raise InputError("the mask covers nothing", fix="Paint white where the new face goes")
    (top, left), (bottom, right) = inside.amin(0).tolist(), inside.amax(0).tolist()
    height, width = image.shape[-2:]
    face = manual_face((width, height), box=(left, top, right + 1, bottom + 1))
    return scene_crop(image, face, size, mask)
