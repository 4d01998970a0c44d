"""SFace: OpenCV's own class on a generated network of its layout, and errors for other files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, InputError, ModelFileError
from comfyui_dense_face.faces.analyzers import manual_face
from comfyui_dense_face.faces.crops.alignment import align_face
from comfyui_dense_face.faces.encoders.load import load_recogniser
from comfyui_dense_face.faces.encoders.names import W600K_R50
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.faces.opencv_zoo.sface import SFace
from torch import Tensor
from torch.nn import functional as F

pytest.importorskip("cv2")
pytest.importorskip("onnx")
FILE = "face_recognition_sface_2021dec.onnx"
FIVE = torch.tensor([[60.0, 70], [110, 62], [90, 100], [72, 128], [112, 122]])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_onnx import write_recogniser, write_sface, write_yunet

    folder = tmp_path_factory.mktemp("opencv")
    write_sface(folder / FILE)
    write_recogniser(folder / "w600k_r50.onnx")
    write_recogniser(folder / "not_sface.onnx")
    write_yunet(folder / "yunet.onnx", 640)
    (folder / "pointer.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    return folder


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """A smooth image, in which interpolation makes no difference."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 200), torch.linspace(0, 1, 180), indexing="ij")
    return torch.stack([x, y, 0.2 + 0.5 * x * y])


def face_of(image: Tensor, five: Tensor = FIVE) -> Face:
    return manual_face((image.shape[-1], image.shape[-2]), five=five)


def test_features_of_the_aligned_face(files: Path, photo: Tensor) -> None:
    """Its alignment is that of the pack's template, with red first, 0..255."""
    found = SFace(files / FILE).identify(photo, face_of(photo))
    assert found.encoder == "opencv/sface" and found.vector.shape == (128,)
    rng = np.random.default_rng(0)
    weight, bias = (torch.from_numpy(rng.normal(size=n)) for n in ((3, 128), 128))
    colour = align_face(photo, FIVE).mean((1, 2)).double()
    expected = F.normalize(colour @ weight + bias, dim=0)
    assert float(found.vector.double() @ expected) == pytest.approx(1, abs=1e-5)
    mirrored = F.normalize(colour.flip(0) @ weight + bias, dim=0)
    assert float(found.vector.double() @ mirrored) < 0.999


def test_points_are_in_pixels_of_the_pack(files: Path) -> None:
    """An edge at a whole coordinate lies at the same place of the aligned face."""
    template = torch.tensor(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
         [70.7299, 92.2041]]
    )  # fmt: skip
    image = torch.zeros(3, 112, 112)
    image[0, :, :56] = 1
    sface = SFace(files / FILE)
    exact = sface.identify(image, face_of(image, template + 0.5)).vector
    shifted = sface.identify(image, face_of(image, template)).vector
    rng = np.random.default_rng(0)
    weight, bias = (torch.from_numpy(rng.normal(size=n)) for n in ((3, 128), 128))
    half = F.normalize(0.5 * weight[0] + bias, dim=0).float()
    assert torch.allclose(exact, half, atol=1e-4)
    assert not torch.allclose(shifted, half, atol=1e-4)


def test_faces_that_cannot_be_recognised(files: Path, photo: Tensor) -> None:
    sface = SFace(files / FILE)
    with pytest.raises(InputError, match="a box but no points"):
        sface.identify(photo, manual_face((180, 200), box=(0, 0, 9, 9)))
    with pytest.raises(InputError, match="found in an image of 180x200 px"):
        sface.identify(photo[:, :100], face_of(photo))
    one_point = Face((180, 200), (0, 0, 99, 99), 1, torch.full((5, 2), 50.0), "five", "test")
    with pytest.raises(InputError, match="coincide"):
        sface.identify(photo, one_point)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("w600k_r50.onnx", "holds another network than SFace"),
        ("yunet.onnx", "holds another network than SFace"),
        ("pointer.onnx", "is a Git LFS pointer"),
        ("nothing.onnx", "SFace file is missing"),
    ],
)
def test_other_files_are_refused(files: Path, name: str, said: str) -> None:
    with pytest.raises(ModelFileError, match=said) as error:
        SFace(files / name)
    message = str(error.value)
    assert str(files / name) in message and FILE in message and "Apache-2.0" in message
    assert "\n" not in message


def test_adapters_of_other_encoders_refuse_it(files: Path, photo: Tensor) -> None:
    found = SFace(files / FILE).identify(photo, face_of(photo))
    with pytest.raises(IncompatibleError, match=r"'opencv/sface'.*'insightface/w600k_r50'"):
        found.require(W600K_R50)


def test_recognisers_by_their_files(files: Path, tmp_path: Path) -> None:
    pytest.importorskip("insightface")
    assert isinstance(load_recogniser(files / FILE), SFace)
    assert load_recogniser(str(files / "w600k_r50.onnx")).encoder == W600K_R50
    with pytest.raises(ModelFileError, match="another network than SFace"):
        load_recogniser(files / "not_sface.onnx")
    with pytest.raises(ModelFileError, match="SFace file is missing"):
        load_recogniser(tmp_path / FILE)
    for path in ("renamed.onnx", "sface_folder/a.onnx"):  # InsightFace would take both for its own
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes((files / FILE).read_bytes())
        where = tmp_path / path if path == "renamed.onnx" else tmp_path / "sface_folder"
        with pytest.raises(ModelFileError, match=r"128 numbers as SFace does.*sface in its"):
            load_recogniser(where)
