"""Labels of mirror images: what is on the left goes to the right, and twice is nothing."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.faces.blendshapes import ARKIT_INDEX
from comfyui_dense_face.faces.face import SCHEMES
from comfyui_dense_face.faces.head_pose import (
    HeadPose,
    matrix_from_xyz,
    matrix_from_zyx,
)
from comfyui_dense_face.faces.mirror import (
    MIRROR_LANDMARKS,
    MIRROR_SHAPES,
    mirrored_angles,
    mirrored_landmarks,
    mirrored_parts,
)
from comfyui_dense_face.faces.parts import PART_INDEX


@pytest.mark.parametrize("scheme", ["mesh", "ibug", "five"])
def test_landmarks(scheme: str) -> None:
    order = MIRROR_LANDMARKS[scheme]
    assert sorted(order) == list(range(SCHEMES[scheme]))
    points = torch.rand(SCHEMES[scheme], 2)
    there = mirrored_landmarks(points, scheme)
    assert torch.allclose(
        there[3], torch.tensor([1.0, 0.0]) + points[order[3]] * torch.tensor([-1.0, 1.0])
    )
    torch.testing.assert_close(mirrored_landmarks(there, scheme), points)


def test_the_mesh_is_mirrored_as_its_canonical_face() -> None:
    from comfyui_dense_face.faces.mediapipe.mesh_mirror import mirror_order
    from comfyui_dense_face.faces.mediapipe.task_file import read_geometry
    from landmarker_file import landmarker_file

    expected = mirror_order(read_geometry(landmarker_file())).tolist()
    assert list(MIRROR_LANDMARKS["mesh"]) == expected


def test_parts_and_blendshapes() -> None:
    parts = torch.tensor([[PART_INDEX["eye_left"], PART_INDEX["nose"], PART_INDEX["brow_right"]]])
    expected = [[PART_INDEX["brow_left"], PART_INDEX["nose"], PART_INDEX["eye_right"]]]
    assert mirrored_parts(parts).tolist() == expected
    assert MIRROR_SHAPES[ARKIT_INDEX["eyeBlinkLeft"]] == ARKIT_INDEX["eyeBlinkRight"]
    assert MIRROR_SHAPES[ARKIT_INDEX["jawOpen"]] == ARKIT_INDEX["jawOpen"]


@pytest.mark.parametrize("matrix_of", [matrix_from_xyz, matrix_from_zyx])
def test_angles_are_those_of_the_mirrored_rotation(matrix_of: object) -> None:
    angles = torch.tensor([30.0, -20.0, 10.0])
    flip = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64))
    here, there = (matrix_of(HeadPose(*a.tolist())) for a in (angles, mirrored_angles(angles)))  # type: ignore[operator]
    torch.testing.assert_close(flip @ here.double() @ flip, there.double())
