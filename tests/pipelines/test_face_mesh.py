"""``--face-mesh``: the drawing that an ordinary ControlNet reads, with and without a scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.commands import evaluate_photos, evaluate_photos_drawing
from comfyui_dense_face.dense_face.checkpoints.adapter_file import load_adapter, save_adapter
from comfyui_dense_face.faces.face import Face, HeadPose
from comfyui_dense_face.faces.head_pose import flip_axes, zyx_from_matrix, zyx_to_xyz
from comfyui_dense_face.faces.mediapipe.mesh_pose import mesh_rotation
from comfyui_dense_face.faces.mediapipe.task_file import read_geometry
from comfyui_dense_face.faces.mesh.eyes import Gaze
from comfyui_dense_face.faces.mesh.hint import draw_meshes
from comfyui_dense_face.faces.mesh.make import make_face
from comfyui_dense_face.faces.mesh.rig import FaceRig, face_rig
from comfyui_dense_face.pipelines.images import read_about
from comfyui_dense_face.pipelines.real import face_mesh
from comfyui_dense_face.pipelines.real.scene import SceneCrop, scene_crop
from landmarker_file import landmarker_file
from photo_people import ColourRecogniser, MeshFaces, write_people
from PIL import Image
from real_files import ENCODER, Command, write_controlnets
from torch import Tensor

TURN = HeadPose(30.0, -10.0, 5.0)


@pytest.fixture(scope="module")
def rig() -> FaceRig:
    return face_rig(read_geometry(landmarker_file()))


@pytest.fixture(scope="module")
def scene(rig: FaceRig) -> SceneCrop:
    """A made face, tilted by 20 degrees, in an image without anything."""
    face = make_face(rig, HeadPose(10.0, 0.0, 20.0), (300, 240), (90, 60, 190, 170)).face
    return scene_crop(torch.rand(3, 240, 300), face, 128)


def drawn(rig: FaceRig, angles: HeadPose | None, **changes: Any) -> Tensor:
    inputs = {"gaze": Gaze(), "values": {}, "person": None, "scene": None}
    return face_mesh.face_mesh_image(rig, 128, angles, **{**inputs, **changes})[0]


def meshes(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The points of everything that is drawn from now on."""
    seen: list[Tensor] = []

    def watched(points: list[Tensor], size: tuple[int, int]) -> Any:
        seen.extend(points)
        return draw_meshes(points, size)

    monkeypatch.setattr(face_mesh, "draw_meshes", watched)
    return seen


def test_without_a_scene_it_is_in_the_middle(rig: FaceRig) -> None:
    image = drawn(rig, TURN)
    assert image.shape == (1, 3, 128, 128)
    face = make_face(rig, TURN, (128, 128), (32, 32, 96, 96)).face
    wanted = torch.from_numpy(draw_meshes([face.landmarks], (128, 128))).movedim(-1, 0)
    assert torch.equal(image[0] * 255, wanted.float())
    assert not torch.equal(drawn(rig, None), image)


def test_in_a_scene_it_lies_on_its_face_in_the_crop(
    rig: FaceRig, scene: SceneCrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the crop is turned upright; the pose is that of the scene's face."""
    seen = meshes(monkeypatch)
    drawn(rig, None, scene=scene)
    there = scene.place.to_image(seen[0])
    assert (there - scene.face.landmarks[:, :2]).norm(dim=1).max() < 0.1
    drawn(rig, TURN, scene=scene)
    points = scene.place.to_image(seen[1][:, :2])
    assert (points.mean(0) - there.mean(0)).norm() < 20
    assert (points - there).norm(dim=1).max() > 10


def test_the_pose_in_the_scene_is_the_one_given(rig: FaceRig, scene: SceneCrop) -> None:
    made = make_face(rig, TURN, scene.face.image_size, scene.face).face
    rotation = mesh_rotation(made.landmarks, made.image_size, rig.geometry)
    assert zyx_to_xyz(zyx_from_matrix(flip_axes(rotation))) == pytest.approx(TURN, abs=0.01)


def test_gaze_expression_and_person_are_drawn(rig: FaceRig, scene: SceneCrop) -> None:
    plain = drawn(rig, TURN)
    wide: Face = scene.face
    for changes in ({"gaze": Gaze(30, 0)}, {"values": {"jawOpen": 1.0}}):
        assert not torch.equal(drawn(rig, TURN, **changes), plain)
    points = wide.landmarks * torch.tensor([1.3, 1.0, 1.0]) - torch.tensor([40.0, 0.0, 0.0])
    stretched = Face(wide.image_size, wide.box, 1.0, points, "mesh", "test", blendshapes={})
    assert not torch.equal(drawn(rig, TURN, person=stretched), plain)


# ---- the command -------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _network(files: Path) -> None:
    write_controlnets(files)


def mesh(**changes: Any) -> dict[str, Any]:
    usual = {"base": "base.safetensors", "reference": "person.safetensors"}
    network = {"controlnet": "control.safetensors", "landmarker": landmarker_file()}
    return {**usual, **network, "face_mesh": True, **changes}


def test_a_turned_face_by_the_command(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    images = []
    for changes in ({"yaw": 70}, {"yaw": -30}, {"yaw": -30, "gaze": (-20, 0)}):
        assert command("generate", **mesh(**changes)) == 0
        images.append(command.image)
    assert not torch.equal(images[0], images[1]) and not torch.equal(images[1], images[2])
    said = capsys.readouterr().err
    assert "face mesh: yaw 70, pitch 0, roll 0: " in said and "half of the face is hidden" in said


def test_a_photograph_keeps_its_pose(command: Command, files: Path) -> None:
    data = pytest.importorskip("skimage.data")
    Image.fromarray(data.astronaut()[:300, 60:360]).save(files / "astronaut.png")
    photograph = {"scene": "astronaut.png", "landmarker": landmarker_file()}
    assert command.express(**mesh(**photograph, reference=None)) == 0
    # Dense-Face without its pose branch leaves the pose alone.
    dense = replace(load_adapter(files / "dense.safetensors"), pose_branch=None)
    save_adapter(files / "no_pose.safetensors", dense)
    options = {"base": "base.safetensors", "reference": "tiny.safetensors", "prompt": "a *"}
    assert command("generate", **options, **photograph, dense_face="no_pose.safetensors") == 0


def test_express_turns_the_head_and_the_eyes(command: Command) -> None:
    usual = {**mesh(reference=None), "identity": "person.safetensors", "word": "joy"}
    images = []
    for yaw, gaze in ((None, None), (30, None), (30, (-20, 5))):
        assert command("express", **usual, yaw=yaw, gaze=gaze) == 0
        images.append(command.image)
        about = read_about(command.out)
        assert about is not None
        assert about["angles"] == [yaw or 0, 0, 0]
        assert about["gaze"] == (None if gaze is None else list(gaze))
    assert not torch.equal(images[0], images[1]) and not torch.equal(images[1], images[2])


def test_express_turns_nothing_without_a_drawing(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.express(yaw=20) == 2
    assert "nothing turns the head. Give a --dense-face file, or --face-mesh" in (
        capsys.readouterr().err
    )


# ---- evaluate photos ---------------------------------------------------------------------------


@pytest.fixture
def photos(
    command: Command, tmp_path: Path, rig: FaceRig, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Options of the command for three people, whose faces are turned by 10 degrees."""
    write_people(tmp_path / "people")
    (tmp_path / "evaluator.onnx").write_bytes(b"an evaluator")
    for name, found in {
        "finder_of": MeshFaces(rig, HeadPose(10.0, 0.0, 0.0)),
        "recogniser_of": ColourRecogniser(ENCODER, 1),
        "evaluator_of": ColourRecogniser("insightface/glintr100", 2),
    }.items():
        monkeypatch.setattr(evaluate_photos, name, lambda _, found=found: found)
    return {
        **mesh(reference=None),
        "references": tmp_path / "people",
        "evaluator": tmp_path / "evaluator.onnx",
        "identity_adapter": "faceid.bin",
        "prompt": "a photo of a person",
        "size": 64,
        "steps": 1,
    }


def test_photos_are_evaluated_with_a_drawing_for_each(
    command: Command,
    photos: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the case's word, and of the scene's pose unless angles are given."""
    draw = evaluate_photos_drawing.draw_face_mesh
    drawings: list[tuple[Any, ...]] = []

    def recorded(args: Any, *inputs: Any) -> Any:
        image, made = draw(args, *inputs)
        drawings.append((made.angles, inputs[2], image))
        return image, made

    monkeypatch.setattr(evaluate_photos_drawing, "draw_face_mesh", recorded)
    words = {"word": ["joy", "fear"], "expression_adapter": "fineface.bin", "scene": "scene.png"}
    images = {}
    for name, changes in {"turned": {"yaw": 70, "gaze": (20, 0)}, "as_is": {}}.items():
        drawings.clear()
        out = tmp_path / name
        assert command("evaluate photos", **photos, **words, **changes, out=out) == 0
        yaw = changes.get("yaw", 10.0)
        assert {round(angles[0], 3) for angles, *_ in drawings} == {yaw}
        assert all(face.scheme == "mesh" for _, face, _ in drawings)
        assert not torch.equal(drawings[0][2], drawings[1][2])  # joy and fear
        images[name] = [path.read_bytes() for path in sorted(out.rglob("images/*/*.png"))]
        assert len(images[name]) == 6
        hidden = "warning: face mesh: half of the face is hidden"
        assert capsys.readouterr().err.count(hidden) == (yaw == 70)
    assert not set(images["turned"]) & set(images["as_is"])


def test_other_angles_are_other_settings(
    command: Command, photos: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos["out"] = tmp_path / "out"
    assert command("evaluate photos", **photos, yaw=20) == 0
    assert command("evaluate photos", **photos, yaw=25) == 2
    assert "the first differs in yaw (" in capsys.readouterr().err
    assert command("evaluate photos", **{**photos, "face_mesh": None}, gaze=(1, 1)) == 2
    assert "nothing draws the gaze" in capsys.readouterr().err


# ---- bad input ---------------------------------------------------------------------------------

BAD: list[tuple[dict[str, Any], str]] = [
    ({"face_mesh": None, "gaze": (5, 5)}, "nothing draws the gaze"),
    ({"control_image": "scene.png"}, "both given and to be drawn"),
    ({"controlnet": None}, "nothing reads the face mesh"),
    ({"landmarker": None}, "from the landmarker file, and none is given"),
    ({"landmarker": "base.safetensors"}, "not a .task file"),
    ({"gaze": (60, 0)}, "the gaze has a yaw of 60"),
    ({"yaw": 120}, "turned 120 degrees away"),
    (
        {"controlnet": "dense.safetensors", "dense_face": "dense.safetensors", "yaw": 5},
        "nothing reads the control image",
    ),
    ({"base": None}, "the tiny world has no use for this option"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_refused(
    command: Command,
    changes: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DENSEFACE_TASK_FILE", raising=False)
    assert command("generate", **mesh(**changes)) == 2
    assert message in capsys.readouterr().err
