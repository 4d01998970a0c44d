"""Masks of whole heads from landmarks."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.demo.people import sample_heads
from comfyui_dense_face.demo.renderer.renderer import render
from comfyui_dense_face.faces.face import Face, HeadPose
from comfyui_dense_face.faces.masks.mask_reader import LandmarkMasks
from torch import Tensor

SIDE = 128


class Finder:
    """Knows the faces of some images by their order."""

    name = "known"

    def __init__(self, faces: list[list[Face]]) -> None:
        self._faces = iter(faces)

    def find(self, _image: Tensor) -> list[Face]:
        """See ``faces.analyzers.FaceAnalyzer``."""
        return next(self._faces, [])


def faces_of(yaw: float, roll: float) -> tuple[list[Face], Tensor]:
    """A rendered head as 68 points, five points and a box, and where it really is."""
    angles = torch.tensor([[yaw, 0.0, roll]])
    drawn = render(sample_heads([5], [7]).replace(angles=angles), SIDE)
    points = SIDE * drawn.landmarks[0]
    (left, top), (right, bottom) = points.min(0).values.tolist(), points.max(0).values.tolist()
    box, pose = (left, top, right, bottom), HeadPose(yaw, 0.0, roll)
    ibug = Face((SIDE, SIDE), box, 1.0, points, "ibug", "test", pose=pose)
    assert ibug.five is not None
    five = Face((SIDE, SIDE), box, 1.0, ibug.five, "five", "test", pose=pose)
    none = Face((SIDE, SIDE), box, 1.0, torch.zeros(0, 2), "none", "test")
    return [ibug, five, none], drawn.head_mask[0]


@pytest.mark.parametrize(("yaw", "roll"), [(0.0, 0.0), (0.0, 25.0), (40.0, 0.0), (-40.0, 0.0)])
def test_heads_are_where_they_are_rendered(yaw: float, roll: float) -> None:
    faces, head = faces_of(yaw, roll)
    for face in faces[: 2 if roll else 3]:
        image = torch.zeros(1, 3, SIDE, SIDE)
        mask, found = LandmarkMasks(Finder([[face]])).head(image, SIDE, SIDE, 0.0)
        assert found == (True,)
        assert float(mask[0][head].mean()) > 0.99
        # Twice the head at most, for these heads' eyes are further apart than a person's.
        assert float(mask.sum()) < 2.2 * float(head.sum())
        plain, _ = LandmarkMasks(Finder([[face]])).face(image, SIDE, SIDE, 0.0)
        assert bool((mask >= plain - 1e-6).all())


def test_the_largest_face_counts_and_missing_ones_are_empty() -> None:
    face = faces_of(0.0, 0.0)[0][0]
    small = Face((SIDE, SIDE), (2.0, 2.0, 9.0, 9.0), 1.0, torch.zeros(0, 2), "none", "test")
    reader = LandmarkMasks(Finder([[small, face], []]))
    mask, found = reader.head(torch.zeros(2, 3, SIDE, SIDE), 64, 96, 0.0)
    assert found == (True, False) and mask.shape == (2, 64, 96)
    assert float(mask[0].sum()) > 500 and not mask[1].any()
