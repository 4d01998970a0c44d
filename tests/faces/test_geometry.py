"""Alignment, head pose and crops: properties over random faces, and one golden table of angles."""

from __future__ import annotations

import math

import pytest
import torch
from comfyui_dense_face.dense_face.pose_image import axis_ends
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.angles import check_angles
from comfyui_dense_face.faces.crops.alignment import TEMPLATE, align_face, alignment
from comfyui_dense_face.faces.crops.similarity import Similarity, fit_similarity
from comfyui_dense_face.faces.face import HeadPose
from comfyui_dense_face.faces.head_pose import (
    angle_between,
    as_paper_estimator,
    flip_axes,
    matrix_from_xyz,
    matrix_from_zyx,
    xyz_from_matrix,
    xyz_to_zyx,
    zyx_from_matrix,
    zyx_to_xyz,
)
from hypothesis import given, settings
from hypothesis import strategies as st

quick = settings(max_examples=60, deadline=None)
turn = st.floats(-180, 180)
place = st.floats(-2000, 2000)


def planar(angle: float, scale: float, dx: float, dy: float) -> Similarity:
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rotation = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    return Similarity(scale, rotation, torch.tensor([dx, dy], dtype=torch.float64))


@quick
@given(angle=turn, scale=st.floats(0.05, 50), dx=place, dy=place)
def test_any_similarity_is_recovered(angle: float, scale: float, dx: float, dy: float) -> None:
    true = planar(angle, scale, dx, dy)
    found = fit_similarity(TEMPLATE, true(TEMPLATE))
    assert torch.allclose(found.matrix(), true.matrix(), atol=1e-3, rtol=1e-6)
    again = found.inverse()(found(TEMPLATE))
    assert torch.allclose(again, TEMPLATE.double(), atol=1e-6)


@quick
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 10))
def test_procrustes_in_3d_ignores_points_of_weight_0(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    u, _, vt = torch.linalg.svd(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    rotation = u @ torch.diag(torch.tensor([1.0, 1, torch.det(u @ vt)], dtype=torch.float64)) @ vt
    true = Similarity(scale, rotation, torch.ones(3, dtype=torch.float64))
    target = true(points)
    target[10:] += 5  # without weight these must not matter
    weights = torch.cat([torch.rand(10, generator=generator) + 0.1, torch.zeros(10)])
    found = fit_similarity(points, target, weights)
    assert torch.allclose(found.matrix(), true.matrix(), atol=1e-6)


def test_degenerate_points_are_refused() -> None:
    with pytest.raises(InputError, match="all coincide"):
        alignment(torch.ones(5, 2))
    with pytest.raises(InputError, match="not finite"):
        alignment(torch.full((5, 2), float("nan")))
    mirrored = TEMPLATE * torch.tensor([-1.0, 1.0])
    assert float(torch.det(alignment(mirrored).rotation)) == pytest.approx(1)


def test_aligned_face_lies_on_the_template() -> None:
    """A dot on each point of a turned face ends within half a pixel of the template."""
    there = planar(25, 2.5, 150, 40)
    for target in TEMPLATE:
        place = there(target[None])[0]
        y, x = torch.meshgrid(torch.arange(512) + 0.5, torch.arange(512) + 0.5, indexing="ij")
        dot = torch.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / 40)[None].float()
        seen = align_face(dot, there(TEMPLATE))[0]
        y, x = torch.meshgrid(torch.arange(112) + 0.5, torch.arange(112) + 0.5, indexing="ij")
        middle = torch.stack([(x * seen).sum(), (y * seen).sum()]) / seen.sum()
        assert torch.allclose(middle, target, atol=0.1)


# Yaw, pitch, roll in degrees -> ends of the head's X, Y, Z axes in the image (x right, y down).
GOLDEN: list[tuple[HeadPose, tuple[tuple[float, float], ...]]] = [
    (HeadPose(0, 0, 0), ((1, 0), (0, 1), (0, 0))),
    (HeadPose(30, 0, 0), ((0.8660, 0), (0, 1), (-0.5, 0))),
    (HeadPose(0, 30, 0), ((1, 0), (0, 0.8660), (0, -0.5))),
    (HeadPose(0, 0, 30), ((0.8660, 0.5), (-0.5, 0.8660), (0, 0))),
    (HeadPose(45, 0, 0), ((0.7071, 0), (0, 1), (-0.7071, 0))),
    (HeadPose(-20, 10, 5), ((0.9361, 0.1450), (-0.0819, 0.9759), (0.3420, -0.1632))),
    (HeadPose(40, -25, -15), ((0.7399, 0.0278), (0.1983, 0.9458), (-0.6428, 0.3237))),
]


@pytest.mark.parametrize(("pose", "ends"), GOLDEN)
def test_golden_table_of_angles(pose: HeadPose, ends: tuple[tuple[float, float], ...]) -> None:
    columns = matrix_from_xyz(pose)[:2].T
    assert torch.allclose(columns, torch.tensor(ends, dtype=torch.float64), atol=2e-4)
    # The same head as the pose image draws it: lengths 100, 100, 200 from the middle.
    drawn = torch.tensor(axis_ends(*pose), dtype=torch.float64)
    lengths = torch.tensor([[100.0], [100.0], [200.0]], dtype=torch.float64)
    assert torch.allclose(drawn, 127.5 + lengths * columns, atol=1.0)


yaws, others = st.floats(-89, 89), st.floats(-179, 179)


@quick
@given(yaw=yaws, pitch=others, roll=others)
def test_angles_and_matrices_are_inverse(yaw: float, pitch: float, roll: float) -> None:
    pose = HeadPose(yaw, pitch, roll)
    for there, back in ((matrix_from_xyz, xyz_from_matrix), (matrix_from_zyx, zyx_from_matrix)):
        matrix = there(pose)
        assert torch.allclose(matrix @ matrix.T, torch.eye(3, dtype=torch.float64), atol=1e-9)
        assert float(torch.det(matrix)) == pytest.approx(1)
        assert tuple(back(matrix)) == pytest.approx(pose, abs=1e-6)
    assert torch.allclose(matrix_from_zyx(pose), matrix_from_xyz(zyx_to_xyz(pose)), atol=1e-9)
    assert torch.allclose(matrix_from_xyz(pose), matrix_from_zyx(xyz_to_zyx(pose)), atol=1e-9)


@quick
@given(yaw=yaws, pitch=others, roll=st.floats(-90, 90), turned=st.floats(-80, 80))
def test_rotating_the_image_changes_zyx_roll_alone(
    yaw: float, pitch: float, roll: float, turned: float
) -> None:
    there = matrix_from_xyz(HeadPose(0, 0, turned)) @ matrix_from_zyx(HeadPose(yaw, pitch, roll))
    assert tuple(zyx_from_matrix(there)) == pytest.approx((yaw, pitch, roll + turned), abs=1e-6)


@quick
@given(yaw=yaws, pitch=others, roll=others)
def test_landmark_file_has_the_opposite_signs(yaw: float, pitch: float, roll: float) -> None:
    """The formulas of the file's convention on its matrix with y up."""
    M = flip_axes(matrix_from_zyx(HeadPose(yaw, pitch, roll)))
    read = (
        math.degrees(math.atan2(-float(M[2, 0]), math.hypot(float(M[0, 0]), float(M[1, 0])))),
        math.degrees(math.atan2(float(M[2, 1]), float(M[2, 2]))),
        math.degrees(math.atan2(float(M[1, 0]), float(M[0, 0]))),
    )
    assert read == pytest.approx((-yaw, -pitch, -roll), abs=1e-6)


@pytest.mark.parametrize("pose", [HeadPose(20, 0, 0), HeadPose(0, -12, 0), HeadPose(0, 0, 8)])
def test_rotations_about_one_axis_are_the_same_in_both_orders(pose: HeadPose) -> None:
    assert tuple(zyx_to_xyz(pose)) == pytest.approx(pose, abs=1e-9)


def test_paper_estimator_increases_yaw() -> None:
    # A yaw of -35 in the landmark file is 35 here.
    assert as_paper_estimator(HeadPose(35, 0, 4)) == pytest.approx((42, -4.6, 4))


def test_angles_are_accepted_up_to_the_trained_range() -> None:
    """Yaw 60, pitch and roll 35 degrees to either side."""
    for sign in (-1, 1):
        check_angles((sign * 60.0, sign * 35.0, sign * 35.0))
        for name, place, limit in (("yaw", 0, 60), ("pitch", 1, 35), ("roll", 2, 35)):
            for angle in (sign * (limit + 0.01), float("nan")):
                angles = [0.0, 0.0, 0.0]
                angles[place] = angle
                with pytest.raises(InputError, match=f"the {name} of .* between -{limit} and"):
                    check_angles(angles)


def test_angle_between_poses() -> None:
    one, other = matrix_from_zyx(HeadPose(10, 0, 0)), matrix_from_zyx(HeadPose(-20, 0, 0))
    assert angle_between(one, other) == pytest.approx(30)
    assert angle_between(one, one) == pytest.approx(0, abs=1e-5)
    with pytest.raises(InputError, match="yaw nan"):
        matrix_from_zyx(HeadPose(float("nan"), 0, 0))
