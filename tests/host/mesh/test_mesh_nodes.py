"""Draw Face Mesh and Face Mesh of Faces: batches, sizes, previews and errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from in_host import Tiny
from landmarker_file import landmarker_file

FIRST = "first one found"
FRONT = (FIRST, 256, 192, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.6)
"""All required inputs: file, width, height, three angles, gaze, middle and height of the face."""


@pytest.fixture(autouse=True)
def places(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Model folders of the host with nothing but the landmarker's file."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {})
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    tiny.module("nodes.host.folders").register_folders()
    file = tmp_path / "dense_face" / "face.task"
    file.symlink_to(landmarker_file())
    return file


def drawn(tiny: Tiny, *numbers: Any, **inputs: Any) -> Any:
    return tiny.run("DrawFaceMesh", *(numbers or FRONT), **inputs)


def sweep(tiny: Tiny, count: int) -> Any:
    return tiny.run(
        "PoseSweep", count, 64, from_yaw=-40.0, from_pitch=0.0, from_roll=0.0, to_yaw=40.0,
        to_pitch=0.0, to_roll=0.0,
    )[0]  # fmt: skip


def word(tiny: Tiny, count: int) -> Any:
    start = tiny.run("ExpressionFromSliders")
    end = tiny.run("ExpressionFromSliders", jawOpen=1.0, cheekPuff=0.5)
    return tiny.run("ExpressionTravel", start, end, count)


def test_one_face(tiny: Tiny) -> None:
    image, preview, faces, report = drawn(tiny)
    assert image.shape == (1, 192, 256, 3) and image.dtype == torch.float32
    assert torch.equal(image, preview)
    assert set(image.flatten(0, 2).unique(dim=0).mul(255).round().int().sum(1).tolist()) >= {0, 220}
    (face,) = faces.images[0]
    assert face.scheme == "mesh" and face.image_size == (256, 192)
    assert report == "yaw 0, pitch 0, roll 0: 81 x 115 px"


def test_one_drawing_for_each_pose_and_expression(tiny: Tiny) -> None:
    image, _, faces, report = drawn(tiny, pose=sweep(tiny, 3), expression=word(tiny, 3))
    assert image.shape[0] == len(faces) == 3
    lines = report.split("\n")
    assert [line.split(",")[0] for line in lines] == ["yaw -40", "yaw 0", "yaw 40"]
    assert "cheekPuff" not in lines[0] and lines[2].endswith("the mesh does not show cheekPuff")
    alone = (FIRST, 256, 192, 40.0, *FRONT[4:])
    assert torch.equal(drawn(tiny, *alone)[0][0], drawn(tiny, pose=sweep(tiny, 3))[0][2])
    assert not torch.equal(drawn(tiny, *alone)[0][0], image[2])


def test_a_half_hidden_face_is_drawn_whole_and_said(tiny: Tiny) -> None:
    """The annotator draws all lines, also of the side that is turned away."""
    image, *_, report = drawn(tiny, FIRST, 256, 192, 75.0, *FRONT[4:])
    assert "half of the face is hidden; it is drawn as the annotator draws" in report
    colours = set(map(tuple, image.flatten(0, 2).unique(dim=0).mul(255).round().int().tolist()))
    front = drawn(tiny)[0].flatten(0, 2).unique(dim=0).mul(255).round().int().tolist()
    assert colours == set(map(tuple, front))


def test_batches_that_do_not_fit_are_refused(tiny: Tiny) -> None:
    with pytest.raises(Exception, match=r"2 head poses were given for 3.*Draw Face Mesh"):
        drawn(tiny, pose=sweep(tiny, 2), expression=word(tiny, 3))
    with pytest.raises(Exception, match="2 scenes were given for 3"):
        drawn(tiny, pose=sweep(tiny, 3), scene=torch.rand(2, 64, 64, 3))


def test_over_a_scene_in_its_size(tiny: Tiny) -> None:
    scene = torch.full((1, 128, 160, 3), 0.5)
    image, preview, *_ = drawn(tiny, scene=scene)
    assert image.shape == preview.shape == (1, 128, 160, 3)
    lines = (image > 0).any(-1)
    assert torch.equal(preview[lines], image[lines])
    assert (preview[~lines] == 0.3).all() and 0 < lines.float().mean() < 0.2


def test_a_person_and_a_place(tiny: Tiny) -> None:
    """A drawn face serves as both: it has the landmarks of a detected one."""
    wide = (FIRST, 256, 192, 20.0, 5.0, 0.0, 0.0, 0.0, 0.3, 0.4, 0.5)
    faces = drawn(tiny, *wide)[2]
    again = (FIRST, 64, 64, 20.0, 5.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.9)
    image, _, found, _ = drawn(tiny, *again, place=faces, person=faces)
    assert torch.equal(image, drawn(tiny, *wide)[0])
    one, two = (each.images[0][0].landmarks for each in (faces, found))
    assert torch.allclose(one[:468], two[:468], atol=0.1)
    with pytest.raises(Exception, match="face index 3 does not exist"):
        drawn(tiny, place=faces, face_index=3)


def test_detected_faces_are_drawn_as_they_are(tiny: Tiny) -> None:
    made = drawn(tiny, pose=sweep(tiny, 2))
    image, preview, report = tiny.run("FaceMeshOfFaces", made[2])
    assert torch.equal(image, made[0]) and torch.equal(preview, image)
    assert report == "1 face drawn\n1 face drawn"
    scene = torch.rand(2, 192, 256, 3)
    assert not torch.equal(tiny.run("FaceMeshOfFaces", made[2], scene)[1], image)
    with pytest.raises(Exception, match="image of 256x192 px, this one has 64x64"):
        tiny.run("FaceMeshOfFaces", made[2], torch.rand(1, 64, 64, 3))


def test_small_and_missing_faces_are_left_out(tiny: Tiny) -> None:
    sockets = tiny.module("nodes.sockets")
    small, big = (drawn(tiny, *FRONT[:-1], tall)[2].images[0][0] for tall in (0.3, 0.6))
    both = sockets.FoundFaces(((small, big), ()))
    image, _, report = tiny.run("FaceMeshOfFaces", both)
    assert torch.equal(image[0], drawn(tiny)[0][0]) and image[1].abs().max() == 0
    assert report == "1 face drawn, 1 smaller than 64 px left out\n0 faces drawn"
    with pytest.raises(Exception, match="there are no faces"):
        tiny.run("FaceMeshOfFaces", sockets.FoundFaces(((),)))


def test_faces_without_a_mesh_are_refused(tiny: Tiny) -> None:
    faces = tiny.run(
        "FacesByHand", torch.rand(1, 192, 256, 3), 80, 40, 90, 90, "", False, 0.0, 0.0, 0.0
    )
    for run in (
        lambda: tiny.run("FaceMeshOfFaces", faces),
        lambda: drawn(tiny, person=faces),
    ):
        with pytest.raises(Exception, match="its mesh needs 478"):
            run()
    box = drawn(tiny, place=faces)[2].images[0][0].box
    assert (box[1], box[3]) == pytest.approx((40, 130), abs=0.1)


def test_a_missing_file_is_named(tiny: Tiny, places: Path) -> None:
    with pytest.raises(Exception, match=r"other\.task is missing"):
        drawn(tiny, "other.task", *FRONT[1:])
    places.unlink()
    with pytest.raises(Exception, match=r"face_landmarker_v2_with_blendshapes\.task"):
        drawn(tiny)


def test_drawings_that_do_not_fit_into_memory(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management as mm

    poses = sweep(tiny, 4)
    monkeypatch.setattr(mm, "get_free_memory", lambda *_, **__: 2**30)
    with pytest.raises(ValueError, match=r"4 images of 8192x8192 px.*1\.0 are free \(Draw Face"):
        drawn(tiny, FRONT[0], 8192, 8192, *FRONT[3:], pose=poses)
