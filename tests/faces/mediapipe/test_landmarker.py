"""The landmarker: its parts on made-up numbers, and the whole on photographs.

The photograph tests need MediaPipe's ``face_landmarker_v2_with_blendshapes.task`` at the path in
DENSEFACE_TASK_FILE or in the host's models/dense_face, and scikit-image's astronaut.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_dense_face.errors import InputError, ModelFileError
from comfyui_dense_face.faces.analyzers import find_faces
from comfyui_dense_face.faces.blendshapes import ARKIT_NAMES, mirrored_name
from comfyui_dense_face.faces.dnn import Network, opencv
from comfyui_dense_face.faces.face import Face, HeadPose
from comfyui_dense_face.faces.head_pose import flip_axes, matrix_from_zyx, zyx_from_matrix
from comfyui_dense_face.faces.mediapipe import blazeface
from comfyui_dense_face.faces.mediapipe.landmarker import BLENDSHAPE_LANDMARKS, Landmarker
from comfyui_dense_face.faces.mediapipe.mesh_crop import Region, region_of_detection, region_of_mesh
from comfyui_dense_face.faces.mediapipe.mesh_mirror import mirror_order
from comfyui_dense_face.faces.mediapipe.mesh_pose import FIELD_OF_VIEW, mesh_rotation
from comfyui_dense_face.faces.mediapipe.task_file import (
    BLENDSHAPES,
    DETECTOR,
    GEOMETRY,
    MESH,
    Geometry,
    read_geometry,
    read_task_file,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from landmarker_file import landmarker_file
from torch import Tensor

quick = settings(max_examples=50, deadline=None)


def test_anchors_lie_on_two_grids() -> None:
    found = blazeface.anchors()
    assert found.shape == (896, 2)
    assert found[0] == pytest.approx([1 / 32, 1 / 32]) and (found[0] == found[1]).all()
    assert found[2] == pytest.approx([3 / 32, 1 / 32])
    assert found[512] == pytest.approx([1 / 16, 1 / 16]) and found[895] == pytest.approx(
        [15 / 16] * 2
    )


def test_boxes_are_relative_to_their_anchors() -> None:
    regressors = np.zeros((896, 16), np.float32)
    regressors[700] = [4, -4, 20, 30, *range(12)]
    logits = np.full(896, -200, np.float32)
    logits[700] = 200
    row = blazeface.decode(regressors, logits, blazeface.anchors(), 0.5)
    x, y = blazeface.anchors()[700] * 128
    assert row.shape == (1, 17) and row[0, 0] == pytest.approx(1)
    assert row[0, 1:5] == pytest.approx([x + 4 - 10, y - 4 - 15, x + 4 + 10, y - 4 + 15])
    assert row[0, 5:7] == pytest.approx([x, y + 1]) and row[0, -1] == pytest.approx(y + 11)


number = st.floats(0, 100, width=32)
candidate = st.tuples(
    st.floats(0.5, 1, width=32), number, number, st.floats(1, 40), st.floats(1, 40)
)


@quick
@given(made=st.lists(candidate, max_size=12))
def test_non_maximum_suppression(made: list[tuple[float, ...]]) -> None:
    rows = np.array(
        [[s, x, y, x + w, y + h, *[x] * 12] for s, x, y, w, h in made], np.float32
    ).reshape(-1, 17)
    found = blazeface.weighted_nms(rows)
    assert len(found) <= len(rows) and (len(found) > 0) == (len(rows) > 0)
    assert (np.diff(found[:, 0]) <= 0).all()
    if len(rows):
        assert found[0, 0] == rows[:, 0].max()
        # Means lie within what they are means of, and the order of candidates does not matter.
        assert (found[:, 1:] >= rows[:, 1:].min(0) - 1e-3).all()
        assert (found[:, 1:] <= rows[:, 1:].max(0) + 1e-3).all()
    if len(set(rows[:, 0].tolist())) == len(rows):
        assert blazeface.weighted_nms(rows[::-1]) == pytest.approx(found, abs=1e-3)
    back = blazeface.mirrored(blazeface.mirrored(rows))
    assert back == pytest.approx(rows, abs=1e-3)


def test_overlapping_boxes_become_their_weighted_mean() -> None:
    rows = np.zeros((3, 17), np.float32)
    rows[:, :5] = [[0.6, 0, 0, 10, 10], [0.9, 1, 0, 11, 10], [0.7, 50, 50, 60, 60]]
    found = blazeface.weighted_nms(rows)
    assert found[:, 0] == pytest.approx([0.9, 0.7])
    assert found[0, 1] == pytest.approx(0.9 / 1.5)
    assert blazeface.intersection_over_union(rows[0, 1:5], np.zeros((1, 4), np.float32))[0] == 0


@quick
@given(
    x=st.floats(-100, 600),
    y=st.floats(-100, 600),
    side=st.floats(10, 900),
    angle=st.floats(-3.1, 3.1),
)
def test_regions_round_trip(x: float, y: float, side: float, angle: float) -> None:
    region = Region(x, y, side, angle)
    corners = np.array([[0, 0, 1], [256, 0, 1], [128, 128, 1]], np.float32)
    there = region.to_image(corners)
    assert there[2, :2] == pytest.approx([x, y], abs=0.01)
    assert np.linalg.norm(there[1] - there[0]) == pytest.approx(side, rel=1e-3)
    assert there[:, 2] == pytest.approx([side / 256] * 3, rel=1e-4)


def test_eyes_are_level_in_the_region() -> None:
    row = np.zeros(17, np.float32)
    row[1:9] = [0, 0, 40, 40, 10, 10, 20, 20]
    region = region_of_detection(row)
    assert (region.x, region.y, region.side) == (20, 20, 60)
    assert region.angle == pytest.approx(np.pi / 4)
    mesh = np.zeros((478, 3), np.float32)
    mesh[263, :2], mesh[10, :2], mesh[152, :2] = [0, 10], [-4, 5], [6, 5]
    region = region_of_mesh(mesh)
    assert region.angle == pytest.approx(np.pi / 2) and region.side == pytest.approx(15)
    assert (region.x, region.y) == pytest.approx((1, 5), abs=1e-5)


def test_blendshape_landmarks() -> None:
    assert len(set(BLENDSHAPE_LANDMARKS)) == 146 and max(BLENDSHAPE_LANDMARKS) == 477
    assert list(BLENDSHAPE_LANDMARKS) == sorted(BLENDSHAPE_LANDMARKS)


def test_blendshape_landmarks_are_on_both_sides(task_file: Path) -> None:
    mirror = mirror_order(read_geometry(task_file))
    assert {int(mirror[i]) for i in BLENDSHAPE_LANDMARKS} == set(BLENDSHAPE_LANDMARKS)


def made_up_geometry() -> Geometry:
    generator = torch.Generator().manual_seed(4)
    vertices = torch.randn(468, 3, generator=generator, dtype=torch.float64) * 6
    weights = torch.zeros(468, dtype=torch.float64)
    weights[::15] = 0.03
    return Geometry(vertices, weights)


@quick
@given(
    yaw=st.floats(-60, 60),
    pitch=st.floats(-40, 40),
    roll=st.floats(-90, 90),
    x=st.floats(-8, 8),
    distance=st.floats(40, 120),
)
def test_pose_of_a_mesh_seen_by_the_camera(
    yaw: float, pitch: float, roll: float, x: float, distance: float
) -> None:
    """Turn the canonical face, photograph it as the file's camera would, measure the turn."""
    geometry, (width, height) = made_up_geometry(), (640, 480)
    rotation = flip_axes(matrix_from_zyx(HeadPose(yaw, pitch, roll)))
    there = geometry.vertices @ rotation.T + torch.tensor([x, 3.0, -distance])
    pixel = 2 * np.tan(np.radians(FIELD_OF_VIEW) / 2) / height
    depth = -there[:, 2]
    seen = torch.stack(
        [
            width / 2 + there[:, 0] / depth / pixel,
            height / 2 - there[:, 1] / depth / pixel,
            # The network's depth: in the scale of x and y at the middle of the head.
            (depth - depth.mean()) / depth.mean() / pixel,
        ],
        1,
    )
    found = zyx_from_matrix(flip_axes(mesh_rotation(seen, (width, height), geometry)))
    assert tuple(found) == pytest.approx((yaw, pitch, roll), abs=0.75)


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def field(number: int, kind: int, content: bytes) -> bytes:
    length = varint(len(content)) if kind == 2 else b""
    return varint(number << 3 | kind) + length + content


def geometry_message(vertices: int = 468, weighted: int = 4) -> bytes:
    numbers = np.arange(vertices * 5, dtype="<f4")
    mesh = field(1, 0, varint(0)) + b"".join(field(3, 5, n.tobytes()) for n in numbers)
    pair = field(1, 0, varint(weighted)) + field(2, 5, np.float32(0.5).tobytes())
    return field(1, 2, mesh) + field(2, 2, pair) + field(3, 0, varint(1))


def write_task(path: Path, **parts: bytes) -> Path:
    names = {"detector": DETECTOR, "mesh": MESH, "blendshapes": BLENDSHAPES, "geometry": GEOMETRY}
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            archive.writestr(names[part], content)
    return path


def test_geometry_is_parsed(tmp_path: Path) -> None:
    content = {"detector": b"a", "mesh": b"b", "blendshapes": b"c"}
    task = read_task_file(write_task(tmp_path / "a.task", **content, geometry=geometry_message()))
    assert (task.detector, task.mesh, task.blendshapes) == (b"a", b"b", b"c")
    assert task.geometry.vertices.shape == (468, 3)
    assert task.geometry.vertices[2].tolist() == [10, 11, 12]
    assert task.geometry.weights.nonzero().tolist() == [[4]] and task.geometry.weights[4] == 0.5


def test_invalid_files_are_refused(tmp_path: Path) -> None:
    content = {"detector": b"a", "mesh": b"b", "blendshapes": b"c"}

    def said(path: Path) -> str:
        with pytest.raises(ModelFileError) as error:
            Landmarker(path)
        assert str(path) in str(error.value) and str(error.value).count("\n") == 0
        return str(error.value)

    assert "missing" in said(tmp_path / "none.task")
    (tmp_path / "text.task").write_text("hello")
    assert "not a .task file" in said(tmp_path / "text.task")
    assert "lacks face_blendshapes" in said(
        write_task(tmp_path / "b.task", detector=b"a", mesh=b"b", geometry=geometry_message())
    )
    for bad in (b"", b"\x0a\xff", geometry_message(weighted=900), b"\x0b"):
        assert "damaged" in said(write_task(tmp_path / "c.task", **content, geometry=bad))
    whole = write_task(tmp_path / "d.task", **content, geometry=geometry_message())
    pytest.importorskip("cv2")
    assert "OpenCV cannot read the network" in said(whole)
    (tmp_path / "e.task").write_bytes(whole.read_bytes()[:-100])
    assert "truncated" in said(tmp_path / "e.task")


def test_a_temporary_folder_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(opencv().dnn, "ENGINE_CLASSIC"):
        pytest.skip("OpenCV 4 reads networks from memory")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"No space left on device.*TMPDIR"):
        Network(b"", (), "a file")


# --- with the real file ---


@pytest.fixture(scope="module")
def task_file() -> Path:
    return landmarker_file()


@pytest.fixture(scope="module")
def steady(task_file: Path) -> Landmarker:
    return Landmarker(task_file, steady=True)


def photograph() -> Any:
    return pytest.importorskip("skimage.data").astronaut()


def as_tensor(image: Any) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255


def only_face(landmarker: Landmarker, image: Any) -> Face:
    (face,) = landmarker.find(as_tensor(image))
    assert face.landmarks.shape == (478, 3) and face.scheme == "mesh"
    assert face.blendshapes is not None and face.pose is not None and len(face.blendshapes) == 52
    return face


@pytest.mark.parametrize("is_steady", [False, True])
def test_photograph(task_file: Path, is_steady: bool) -> None:
    face = only_face(Landmarker(task_file, steady=is_steady), photograph())
    assert face.pose is not None and face.blendshapes is not None
    assert tuple(face.pose) == pytest.approx((-0.7, -14.9, 3.5), abs=1.5)
    assert face.blendshapes["mouthSmileLeft"] > 0.8 and face.blendshapes["mouthSmileRight"] > 0.8
    assert set(ARKIT_NAMES) < set(face.blendshapes) and face.score > 0.9


def test_rotation_mirroring_scaling_shifting(steady: Landmarker) -> None:
    cv2 = pytest.importorskip("cv2")
    image = photograph()
    face = only_face(steady, image)
    assert face.pose is not None and face.blendshapes is not None and face.five is not None
    eyes = float((face.five[1] - face.five[0]).norm())

    for angle in (30, -30):  # above 0: counter-clockwise
        matrix = cv2.getRotationMatrix2D((255.5, 255.5), angle, 1.0)
        pose = only_face(steady, cv2.warpAffine(image, matrix, (512, 512))).pose
        assert pose is not None
        assert pose.roll - face.pose.roll == pytest.approx(-angle, abs=2)
        assert pose.yaw == pytest.approx(face.pose.yaw, abs=3)
        assert pose.pitch == pytest.approx(face.pose.pitch, abs=3)

    mirrored = only_face(steady, image[:, ::-1])
    assert mirrored.blendshapes is not None and mirrored.pose is not None
    for name, value in face.blendshapes.items():
        assert mirrored.blendshapes[mirrored_name(name)] == pytest.approx(value, abs=0.05)
    assert mirrored.pose.yaw == pytest.approx(-face.pose.yaw, abs=0.5)

    def moved(other: Face, scale: float, dx: float, dy: float) -> float:
        back = (other.landmarks[:, :2] - torch.tensor([dx, dy])) / scale
        return float((back - face.landmarks[:, :2]).norm(dim=1).mean()) / eyes

    double = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    smaller = cv2.resize(image, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA)
    shifted = np.pad(image, ((13, 0), (29, 0), (0, 0)), mode="edge")
    assert moved(only_face(steady, double), 2, 0, 0) < 0.01
    assert moved(only_face(steady, smaller), 0.75, 0, 0) < 0.01
    assert moved(only_face(steady, shifted), 1, 29, 13) < 0.01


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_rotated_photograph(steady: Landmarker, quarters: int) -> None:
    image = photograph()
    upright, turned = only_face(steady, image), only_face(steady, np.rot90(image, quarters))
    assert upright.pose is not None and turned.pose is not None
    move = (turned.pose.roll - upright.pose.roll + 90 * quarters + 180) % 360 - 180
    assert move == pytest.approx(0, abs=2)
    assert turned.pose[:2] == pytest.approx(upright.pose[:2], abs=3)


def test_twelve_faces_and_one_that_fills_the_frame(steady: Landmarker) -> None:
    face = as_tensor(photograph())[:, :256, 96:352]
    twelve = find_faces(steady, torch.cat([torch.cat([face] * 4, 2)] * 3, 1))
    assert len(twelve) == 12
    middles = sorted((round(f.box[0]) // 256, round(f.box[1]) // 256) for f in twelve)
    assert middles == [(x, y) for x in range(4) for y in range(3)]
    (close,) = find_faces(steady, face[:, 96:165, 95:165])
    assert close.pose is not None and abs(close.pose.yaw) < 8
    assert len(find_faces(steady, face.mean(0, keepdim=True))) == 1


def test_a_face_cut_by_the_frame_beside_a_whole_one(task_file: Path) -> None:
    landmarker = Landmarker(task_file)
    face = as_tensor(photograph())[:, :256, 96:352]
    cut = face[:, :, 120:]
    (alone,) = landmarker.find(cut)
    beside, whole = find_faces(landmarker, torch.cat([cut, face], 2))
    assert beside.box == pytest.approx(alone.box, abs=25) and whole.score > 0.9
    mirrored = find_faces(landmarker, torch.cat([face.flip(2), cut.flip(2)], 2))
    assert len(mirrored) == 2


def test_images_without_a_face(steady: Landmarker) -> None:
    for shape in ((64, 64, 3), (1, 1, 3), (3, 900, 3)):
        assert steady.find(as_tensor(np.full(shape, 128, np.uint8))) == []
