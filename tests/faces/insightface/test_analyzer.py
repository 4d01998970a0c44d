"""InsightFace: its real code on tiny generated models, and errors for wrong folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import InputError, ModelFileError
from comfyui_dense_face.faces.analyzers import find_faces, manual_face
from comfyui_dense_face.faces.face import HeadPose
from comfyui_dense_face.faces.head_pose import matrix_from_zyx
from comfyui_dense_face.faces.insightface.analyzer import InsightFaceAnalyzer
from comfyui_dense_face.faces.insightface.foreign_analyzer import ForeignInsightFace
from comfyui_dense_face.faces.insightface.model_pack import pack_folder
from comfyui_dense_face.faces.insightface.recogniser import InsightFaceRecogniser
from comfyui_dense_face.faces.insightface.record import pose_from_insightface
from torch import Tensor

pytest.importorskip("insightface")
pytest.importorskip("onnx")


def mean_shape() -> Any:
    from insightface.data import get_object

    return get_object("meanshape_68.pkl")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_onnx import write_detector, write_landmarks, write_recogniser

    folder = tmp_path_factory.mktemp("packs") / "tiny"
    folder.mkdir()
    write_detector(folder / "det.onnx")
    write_recogniser(folder / "rec.onnx")
    write_landmarks(folder / "lmk.onnx", mean_shape())
    return folder


@pytest.fixture(scope="module")
def analyzer(pack: Path) -> InsightFaceAnalyzer:
    return InsightFaceAnalyzer(pack, detection_size=320)


def red_squares(*places: tuple[int, int]) -> Tensor:
    """Grey with 16-pixel red squares whose upper left corners lie on cells of the detector."""
    image = torch.full((3, 320, 320), 0.5)
    for x, y in places:
        image[:, y : y + 16, x : x + 16] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    return image


def test_several_faces_with_all_that_insightface_measures(analyzer: InsightFaceAnalyzer) -> None:
    faces = find_faces(analyzer, red_squares((208, 64), (64, 160)))
    assert len(faces) == 2
    for face, (x, y) in zip(faces, ((64, 160), (208, 64)), strict=True):
        assert face.image_size == (320, 320) and face.source == "insightface"
        assert face.box == pytest.approx((x - 48, y - 48, x + 48, y + 48))
        assert face.scheme == "ibug" and face.landmarks.shape == (68, 3)
        assert face.require_five()[2].tolist() == pytest.approx([x + 0.5, y + 0.5])
        assert face.pose is not None and tuple(face.pose) == pytest.approx((0, 0, 0), abs=0.1)
        assert face.identity is not None and face.identity.encoder == "insightface/rec"
    assert find_faces(analyzer, red_squares()) == []


def test_telemetry_is_off(analyzer: InsightFaceAnalyzer) -> None:
    analyzer.find(red_squares((64, 64)))
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


@pytest.mark.parametrize("pose", [HeadPose(25, 0, 0), HeadPose(-10, 15, 20), HeadPose(0, -20, 5)])
def test_angles_have_the_signs_of_the_pack(pose: HeadPose) -> None:
    """Turn InsightFace's own mean shape and read the pose with its own code."""
    from insightface.utils import transform

    shape = torch.from_numpy(mean_shape()).double()
    turned = (shape @ matrix_from_zyx(pose).T).numpy()
    affine = transform.estimate_affine_matrix_3d23d(shape.numpy(), turned)
    angles = transform.matrix2angle(transform.P2sRt(affine)[1])
    assert tuple(pose_from_insightface(angles)) == pytest.approx(pose, abs=0.1)


def test_recogniser_alone_gives_same_identities(pack: Path, analyzer: InsightFaceAnalyzer) -> None:
    """On faces of any analyzer, from a folder without a detector."""
    recogniser = InsightFaceRecogniser(pack)
    image = red_squares((64, 160), (208, 64))
    for face in find_faces(analyzer, image):
        assert face.identity is not None
        again = recogniser.identify(image, face)
        assert again.encoder == face.identity.encoder == "insightface/rec"
        assert float(again.vector @ face.identity.vector) > 0.999
    with pytest.raises(InputError, match="a box but no points"):
        recogniser.identify(image, manual_face((320, 320), box=(0, 0, 9, 9)))


def test_insightface_loaded_by_another_pack(pack: Path, analyzer: InsightFaceAnalyzer) -> None:
    from insightface.app import FaceAnalysis

    model = FaceAnalysis(name=str(pack), providers=["CPUExecutionProvider"])
    model.prepare(ctx_id=-1, det_size=(320, 320))
    foreign = ForeignInsightFace(model)
    assert foreign.encoder == analyzer.encoder
    (face,), (own,) = (a.find(red_squares((64, 160))) for a in (foreign, analyzer))
    assert face.box == own.box and face.identity is not None and own.identity is not None
    assert torch.equal(face.identity.vector, own.identity.vector)


def test_encoder_is_named_by_the_recognisers_file(pack: Path, tmp_path: Path) -> None:
    """Whatever the folder is called, and with or without a recogniser in it."""
    from insightface.app import FaceAnalysis

    folder = tmp_path / "antelopev2"
    shutil.copytree(pack, folder)
    (folder / "rec.onnx").rename(folder / "w600k_r50.onnx")
    model = FaceAnalysis(name=str(folder), providers=["CPUExecutionProvider"])
    loaded = InsightFaceAnalyzer(folder), InsightFaceRecogniser(folder), ForeignInsightFace(model)
    assert [each.encoder for each in loaded] == ["insightface/w600k_r50"] * 3
    (folder / "w600k_r50.onnx").unlink()
    assert InsightFaceAnalyzer(folder).encoder == ""


def test_nested_folder_is_found(pack: Path, tmp_path: Path) -> None:
    shutil.copytree(pack, tmp_path / "antelopev2" / "antelopev2")
    assert pack_folder(tmp_path / "antelopev2") == tmp_path / "antelopev2" / "antelopev2"
    assert InsightFaceAnalyzer(tmp_path / "antelopev2", 320).find(red_squares((64, 64)))
    (tmp_path / "antelopev2" / "other").mkdir()
    (tmp_path / "antelopev2" / "other" / "x.onnx").touch()
    with pytest.raises(ModelFileError, match=r"several folders with \.onnx files"):
        pack_folder(tmp_path / "antelopev2")


def test_other_networks_in_the_folder_are_refused(pack: Path, tmp_path: Path) -> None:
    """InsightFace itself takes any square classifier for a recogniser, and YuNet for a detector."""
    from tiny_onnx import write_classifier, write_sface, write_yunet

    others = {
        "classifier.onnx": (write_classifier, r"224x224 px to 1000 numbers .* w600k_r50\.onnx"),
        "other.onnx": (write_sface, "128 numbers as SFace does"),
        "yunet.onnx": (write_yunet, r"detector of InsightFace: it has 12 outputs .*det_10g\.onnx"),
        "yunet_640.onnx": (lambda path: write_yunet(path, 640), "it has 12 outputs"),
    }
    for name, (write, said) in others.items():
        folder = tmp_path / Path(name).stem
        folder.mkdir()
        write(folder / name)
        recogniser = "yunet" not in name
        if recogniser:
            shutil.copy(pack / "det.onnx", folder)
            with pytest.raises(ModelFileError, match=said):
                InsightFaceRecogniser(folder / name)
        with pytest.raises(ModelFileError, match=said) as error:
            InsightFaceAnalyzer(folder)
        assert name in str(error.value)


def test_invalid_folders_are_refused(pack: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="folder is missing"):
        InsightFaceAnalyzer(tmp_path / "buffalo_l")
    with pytest.raises(ModelFileError, match="folder is a file"):
        InsightFaceAnalyzer(pack / "det.onnx")
    with pytest.raises(ModelFileError, match=r"holds no \.onnx files"):
        InsightFaceAnalyzer(tmp_path)
    shutil.copy(pack / "lmk.onnx", tmp_path)
    with pytest.raises(ModelFileError, match="no recogniser"):
        InsightFaceRecogniser(tmp_path)
    shutil.copy(pack / "rec.onnx", tmp_path)
    with pytest.raises(ModelFileError, match="no face detector"):
        InsightFaceAnalyzer(tmp_path)
    (tmp_path / "det.onnx").write_bytes((pack / "det.onnx").read_bytes()[:200])
    for load in (InsightFaceAnalyzer, InsightFaceRecogniser):
        with pytest.raises(ModelFileError, match="cannot be loaded"):
            load(tmp_path)
    with pytest.raises(InputError, match="multiple of 32"):
        InsightFaceAnalyzer(pack, detection_size=500)
