"""A face by numbers: what the landmarker's geometry reads back, and whose proportions it has."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from comfyui_dense_face.demo.expression_heads import expression_images
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.face import Face, HeadPose
from comfyui_dense_face.faces.head_pose import flip_axes, zyx_from_matrix, zyx_to_xyz
from comfyui_dense_face.faces.mediapipe.landmarker import Landmarker
from comfyui_dense_face.faces.mediapipe.mesh_mirror import mirror_order
from comfyui_dense_face.faces.mediapipe.mesh_pose import mesh_rotation
from comfyui_dense_face.faces.mesh.edges import FEATURES, PUPILS
from comfyui_dense_face.faces.mesh.eyes import Gaze
from comfyui_dense_face.faces.mesh.make import make_face
from comfyui_dense_face.faces.mesh.rig import FaceRig
from hypothesis import given, settings
from hypothesis import strategies as st
from landmarker_file import landmarker_file
from torch import Tensor

quick = settings(max_examples=40, deadline=None)
SIZE = (640, 512)
BOX = (200.0, 120.0, 460.0, 400.0)
FRONT = HeadPose(0.0, 0.0, 0.0)
DRAWN = sorted({i for f in FEATURES for path in f.paths for i in path} | set(PUPILS))
angles = st.builds(HeadPose, st.floats(-60, 60), st.floats(-30, 30), st.floats(-45, 45))


def measured(face: Face, rig: FaceRig) -> HeadPose:
    return zyx_from_matrix(flip_axes(mesh_rotation(face.landmarks, face.image_size, rig.geometry)))


@given(angles, st.floats(0.3, 0.7), st.floats(0.3, 0.7), st.floats(0.2, 0.8))
@quick
def test_the_pose_is_read_back(
    rig: FaceRig, pose: HeadPose, x: float, y: float, tall: float
) -> None:
    half = tall * SIZE[1] / 2
    middle = x * SIZE[0], y * SIZE[1]
    box = (middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    face = make_face(rig, pose, SIZE, box).face
    assert face.pose is not None
    assert measured(face, rig) == pytest.approx(face.pose, abs=0.01)  # degrees
    assert zyx_to_xyz(face.pose) == pytest.approx(pose, abs=1e-6)


def test_the_frontal_face_fills_the_height_of_its_box(rig: FaceRig) -> None:
    left, top, right, bottom = make_face(rig, FRONT, SIZE, BOX).face.box
    assert (top, bottom) == pytest.approx((BOX[1], BOX[3]), abs=0.01)
    assert (left + right) / 2 == pytest.approx((BOX[0] + BOX[2]) / 2, abs=0.01)


@given(angles, st.floats(-30, 30), st.floats(-20, 20))
@quick
def test_mirroring_mirrors(rig: FaceRig, pose: HeadPose, side: float, up: float) -> None:
    mirrored = HeadPose(-pose.yaw, pose.pitch, -pose.roll)
    middle = (SIZE[0] / 2 - 130.0, 120.0, SIZE[0] / 2 + 130.0, 400.0)
    values = {"eyeBlinkLeft": 0.7, "mouthSmileRight": 0.5}
    other = {"eyeBlinkRight": 0.7, "mouthSmileLeft": 0.5}
    one = make_face(rig, pose, SIZE, middle, values=values, gaze=Gaze(side, up)).face.landmarks
    two = make_face(rig, mirrored, SIZE, middle, values=other, gaze=Gaze(-side, up)).face.landmarks
    flipped = two[mirror_order(rig.geometry)] * torch.tensor([-1.0, 1.0, 1.0])
    assert torch.allclose(one, flipped + torch.tensor([SIZE[0], 0.0, 0.0]), atol=0.1)  # pixels


def test_angles_and_gaze_go_the_pack_s_way(rig: FaceRig) -> None:
    def point(index: int, pose: HeadPose = FRONT, **changes: Gaze) -> Tensor:
        return make_face(rig, pose, SIZE, BOX, **changes).face.landmarks[index]

    nose, left, up = 4, 0, 1
    assert point(nose, HeadPose(20, 0, 0))[left] < point(nose)[left] - 20
    assert point(nose, HeadPose(0, 20, 0))[up] < point(nose)[up] - 20
    assert point(33, HeadPose(0, 0, 20))[up] < point(263, HeadPose(0, 0, 20))[up] - 20
    for pupil in PUPILS:
        assert point(pupil, gaze=Gaze(20, 0))[left] < point(pupil)[left] - 3
        assert point(pupil, gaze=Gaze(0, 15))[up] < point(pupil)[up] - 2


def test_what_is_unusual_is_said(rig: FaceRig) -> None:
    def notes(pose: HeadPose = FRONT, box: tuple[float, ...] = BOX, **more: float) -> str:
        assert len(box) == 4
        return "; ".join(make_face(rig, pose, SIZE, box, values=more).notes)

    assert notes() == "" and notes(HeadPose(50, 0, 0)) == ""
    assert "half of the face is hidden" in notes(HeadPose(70, 0, 0))
    assert "smaller than 64 px" in notes(box=(100, 100, 160, 160))
    assert "outside the image" in notes(box=(-100, 100, 200, 400))
    assert "does not show cheekPuff, noseSneerLeft" in notes(cheekPuff=0.5, noseSneerLeft=0.4)


def test_wrong_numbers_are_refused(rig: FaceRig) -> None:
    def refused(match: str, *args: object, **changes: object) -> None:
        with pytest.raises(InputError, match=match):
            make_face(rig, *args, **changes)

    refused("turned 120 degrees away", HeadPose(120, 0, 0), SIZE, (190, 120, 450, 400))
    refused("head pose is", HeadPose(float("nan"), 0, 0), SIZE, BOX)
    refused("gaze has a yaw of 60", FRONT, SIZE, BOX, gaze=Gaze(60, 0))
    refused("box is empty", FRONT, SIZE, (10, 10, 10, 30))
    refused("touches the camera", FRONT, SIZE, (0, -3000, 640, 3000))
    refused("canvas has 8x512", FRONT, (8, 512), BOX)
    plain = Face(SIZE, BOX, 1.0, torch.zeros(0, 2), "none", "by hand")
    refused("has 0 landmarks", FRONT, SIZE, BOX, person=plain)
    refused("image of 640x512 px, this one has 512x512", FRONT, (512, 512), plain)
    assert make_face(rig, FRONT, SIZE, plain).face.box == make_face(rig, FRONT, SIZE, BOX).face.box


# ---- a person's own face -----------------------------------------------------------------------


def astronaut() -> Tensor:
    image = pytest.importorskip("skimage.data").astronaut()
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255


def rendered(person: int) -> Tensor:
    return expression_images(torch.zeros(1, 51), person, 512)[0]


@pytest.fixture(scope="module")
def landmarker() -> Landmarker:
    return Landmarker(landmarker_file(), steady=True)


@pytest.fixture(scope="module", params=["astronaut", 3, 7, 11])
def person(landmarker: Landmarker, request: pytest.FixtureRequest) -> Face:
    who = request.param
    return landmarker.find(astronaut() if who == "astronaut" else rendered(who))[0]


def test_a_face_drawn_at_its_own_pose_lies_on_its_landmarks(rig: FaceRig, person: Face) -> None:
    """Mean errors: 0.5 px of 108 px of face (astronaut), 0.1 to 0.7 px of 380 to 440 px."""
    assert person.pose is not None
    own = make_face(
        rig,
        zyx_to_xyz(person.pose),
        person.image_size,
        person,
        values=person.blendshapes,
        person=person,
    ).face
    apart = (own.landmarks - person.landmarks)[DRAWN, :2].norm(dim=1)
    tall = person.landmarks[152, 1] - person.landmarks[10, 1]
    assert apart.mean() < 0.006 * tall
    assert own.pose == pytest.approx(person.pose, abs=1e-6)


def test_proportions_stay_and_the_expression_goes(
    rig: FaceRig, person: Face, landmarker: Landmarker
) -> None:
    def width(face: Face) -> float:
        left, top, right, bottom = face.box
        return (right - left) / (bottom - top)

    faces = [make_face(rig, FRONT, SIZE, BOX, person=who).face for who in (person, None)]
    assert measured(faces[0], rig) == pytest.approx(FRONT, abs=0.5)
    assert abs(width(faces[0]) - width(faces[1])) > 0.03  # nobody has the canonical face
    read = landmarker.expression(faces[0].landmarks.numpy())
    assert person.blendshapes is not None
    for name in ("mouthSmileLeft", "mouthUpperUpLeft", "jawOpen"):
        assert read[name] < 0.5 and read[name] <= person.blendshapes[name] + 0.1


def test_without_blendshapes_the_expression_stays_and_that_is_said(
    rig: FaceRig, person: Face
) -> None:
    plain = dataclasses.replace(person, blendshapes=None)
    assert "stays" in make_face(rig, FRONT, SIZE, BOX, person=plain).summary()


def test_the_place_of_a_face_is_taken_over(rig: FaceRig, person: Face) -> None:
    other = make_face(rig, HeadPose(25, 0, 0), person.image_size, person).face
    middle = [(face.landmarks[33] + face.landmarks[263])[:2] / 2 for face in (other, person)]
    tall = person.landmarks[152, 1] - person.landmarks[10, 1]
    assert (middle[0] - middle[1]).norm() < 0.35 * tall
    assert 0.8 < (other.box[3] - other.box[1]) / tall < 1.25
