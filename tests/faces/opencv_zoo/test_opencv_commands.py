"""YuNet and SFace on the command line."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from comfyui_dense_face.cli import main
from comfyui_dense_face.commands import evaluate_photos
from comfyui_dense_face.commands.real.loading import finder_of
from comfyui_dense_face.errors import ModelFileError
from comfyui_dense_face.faces.opencv_zoo.sface import SFace
from comfyui_dense_face.faces.opencv_zoo.yunet import YuNet
from PIL import Image

pytest.importorskip("cv2")
pytest.importorskip("onnx")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from tiny_onnx import write_sface, write_yunet

    monkeypatch.delenv("DENSEFACE_TASK_FILE", raising=False)
    write_yunet(tmp_path / "yunet.onnx", 640)
    write_sface(tmp_path / "sface.onnx")
    image = Image.new("RGB", (160, 120), (128, 128, 128))
    image.paste((255, 0, 0), (64, 48, 80, 64))
    (tmp_path / "photos" / "ada").mkdir(parents=True)
    image.save(tmp_path / "photos" / "ada" / "a.png")
    return tmp_path


def test_faces(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(files / "photos" / "ada" / "a.png")
    assert (
        main(
            ["faces", photo, "--json", "--analyzer", "yunet", "--yunet", str(files / "yunet.onnx")]
        )
        == 0
    )
    (found,) = json.loads(capsys.readouterr().out)
    (face,) = found["faces"]
    assert face["box"] == pytest.approx([24, 8, 120, 104], abs=0.01) and face["scheme"] == "five"
    assert len(face["landmarks"]) == 5 and face["pose"] is None


def test_what_finds_faces_and_what_measures(files: Path) -> None:
    """YuNet comes before InsightFace, which may be there for the identity alone."""
    given = argparse.Namespace(
        landmarker=None,
        yunet=files / "yunet.onnx",
        insightface=files,
        evaluator=files / "sface.onnx",
    )
    assert isinstance(finder_of(given), YuNet)
    assert isinstance(evaluate_photos.evaluator_of(given), SFace)
    given.landmarker = files / "none.task"
    with pytest.raises(ModelFileError, match="landmarker"):
        finder_of(given)


def test_five_points_are_no_annotation(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(files / "photos"), str(files / "out")]
    code = main(["annotate", *folders, "--analyzer", "yunet", "--yunet", str(files / "yunet.onnx")])
    assert code == 2 and "annotations need 68 or 478 landmarks" in capsys.readouterr().err


def test_yunet_needs_a_base(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(files / "photos" / "ada" / "a.png")
    code = main(
        ["generate", "--reference", photo, "--prompt", "x", "--yunet", str(files / "yunet.onnx")]
    )
    assert code == 2 and "no use for this option (--yunet)" in capsys.readouterr().err
