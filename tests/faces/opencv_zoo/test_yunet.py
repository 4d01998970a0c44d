"""YuNet: OpenCV's own class on generated networks of its layout, and errors for other files."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import FacePackError, InputError, ModelFileError
from comfyui_dense_face.faces import dnn
from comfyui_dense_face.faces.analyzers import find_faces
from comfyui_dense_face.faces.opencv_zoo.yunet import YuNet
from torch import Tensor

pytest.importorskip("cv2")
pytest.importorskip("onnx")
STATIC, DYNAMIC = "face_detection_yunet_2023mar.onnx", "face_detection_yunet_2026may.onnx"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_onnx import write_detector, write_recogniser, write_sface, write_yunet

    folder = tmp_path_factory.mktemp("opencv")
    write_yunet(folder / STATIC, 640)
    write_yunet(folder / DYNAMIC)
    write_sface(folder / "sface.onnx")
    write_recogniser(folder / "w600k_r50.onnx")
    write_detector(folder / "det_10g.onnx")
    (folder / "damaged.onnx").write_bytes((folder / STATIC).read_bytes()[:300])
    (folder / "pointer.onnx").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0"
    )
    return folder


def red_squares(height: int, width: int, *places: tuple[int, int], side: int = 16) -> Tensor:
    """Grey with red squares whose upper left corners lie on cells of the detector."""
    image = torch.full((3, height, width), 0.5)
    for x, y in places:
        image[:, y : y + side, x : x + side] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    return image


@pytest.mark.parametrize("name", [STATIC, DYNAMIC])
def test_faces_with_five_points(files: Path, name: str) -> None:
    """In images of any size and form, one after the other, whatever size the file states."""
    yunet = YuNet(files / name)
    for height, width in ((320, 480), (200, 250), (480, 160)):
        faces = find_faces(yunet, red_squares(height, width, (96, 96), (64, 16)))
        assert [face.box[:2] for face in faces] == [(64 - 40, 16 - 40), (96 - 40, 96 - 40)]
        face = faces[1]
        assert face.image_size == (width, height) and face.box[2:] == (96 + 56, 96 + 56)
        assert face.scheme == "five" and face.source == "yunet" and face.score > 0.9
        # OpenCV's pixel 104 is the centre of the square, whose middle is 104.5 in the pack.
        expected = [[88.5, 88.5], [120.5, 88.5], [104.5, 104.5], [91.7, 120.5], [117.3, 120.5]]
        assert torch.allclose(face.require_five(), torch.tensor(expected), atol=1e-3)
    assert find_faces(yunet, red_squares(320, 320)) == []


def test_large_images_are_downscaled_and_coordinates_are_theirs(files: Path) -> None:
    image = red_squares(640, 960, (128, 64), side=32)
    (face,) = YuNet(files / STATIC, detection_size=480).find(image)
    assert face.image_size == (960, 640)
    assert face.box == pytest.approx((128 - 80, 64 - 80, 128 + 112, 64 + 112))
    assert face.require_five()[2].tolist() == pytest.approx([145, 81])
    assert YuNet(files / STATIC).find(red_squares(640, 960, (128, 64))) == []  # now too small
    # An odd ratio: rounding the size must not shift the far end.
    image = red_squares(40, 1000, (0, 0), side=40)
    image[:, :, 40:960] = 0.5
    image[:, :, 960:] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    faces = YuNet(files / STATIC, detection_size=400, threshold=0.3).find(image)
    assert max(float(face.require_five()[2, 0]) for face in faces) == pytest.approx(981.25)


def test_threshold(files: Path) -> None:
    image = red_squares(320, 320, (64, 64))
    image[0, 64:80, 64:80] = 0.55  # a score of about a half or less
    image[1:, 64:80, 64:80] = 0.0
    assert len(YuNet(files / DYNAMIC, threshold=0.5).find(image)) == 1
    assert YuNet(files / DYNAMIC, threshold=0.95).find(image) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("sface.onnx", "holds another network than YuNet"),
        ("w600k_r50.onnx", "holds another network than YuNet"),
        ("det_10g.onnx", "holds another network than YuNet"),
        ("damaged.onnx", "is damaged or holds another network"),
        ("pointer.onnx", "is a Git LFS pointer"),
        ("nothing.onnx", "YuNet file is missing"),
        (".", "YuNet file is missing"),
    ],
)
def test_other_files_are_refused(files: Path, name: str, said: str) -> None:
    with pytest.raises(ModelFileError, match=said) as error:
        YuNet(files / name)
    message = str(error.value)
    assert str(files) in message and STATIC in message and "MIT" in message
    assert "\n" not in message


def test_sizes_that_are_too_small(files: Path) -> None:
    with pytest.raises(InputError, match="detection size of 31"):
        YuNet(files / STATIC, detection_size=31)
    assert YuNet(files / STATIC).find(torch.rand(3, 1, 700)) == []


@pytest.mark.parametrize("class_name", ["FaceDetectorYN", "FaceRecognizerSF"])
def test_opencv_without_the_class(
    files: Path, monkeypatch: pytest.MonkeyPatch, class_name: str
) -> None:
    from comfyui_dense_face.faces.opencv_zoo.sface import SFace

    old: Any = types.SimpleNamespace(__version__="4.5.1", dnn=types.SimpleNamespace())
    monkeypatch.setattr(dnn.importlib, "import_module", lambda _: old)
    load = YuNet if class_name == "FaceDetectorYN" else SFace
    with pytest.raises(FacePackError, match=rf"OpenCV 4\.5\.1 has no {class_name}\. Install"):
        load(files / STATIC)
