"""``denseface faces``: output, resuming, bad files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_dense_face.cli import main
from comfyui_dense_face.demo.networks import face_finder
from comfyui_dense_face.faces.face import Face, HeadPose
from comfyui_dense_face.faces.identity import Identity
from PIL import Image
from torch import Tensor


class Always:
    """Finds two faces in every image and counts its calls."""

    name = "always"
    calls = 0

    def find(self, image: Tensor) -> list[Face]:
        type(self).calls += 1
        size = (image.shape[-1], image.shape[-2])
        five = torch.tensor([[4.0, 4], [6, 4], [5, 5], [4, 6], [6, 6.5]])
        pose = HeadPose(10.12345, -5, 3)
        who = Identity(torch.ones(4) / 2, "x")
        return [
            Face(size, (20, 2, 28, 8), 0.75, five + 16, "five", self.name, pose=pose),
            Face(
                size, (2, 2, 8, 8), 0.5, five, "five", self.name, None, {"jawOpen": 0.25}, None, who
            ),
        ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(face_finder, "TinyWorldFaces", Always)
    monkeypatch.delenv("DENSEFACE_TASK_FILE", raising=False)
    Always.calls = 0
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "below/c.webp"):
        Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def faces(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["faces", *map(str, arguments), "--analyzer", "tiny-world"])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_json_is_a_list_with_one_object_per_image(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = faces(capsys, folder, folder / "b.png", "--json")
    found: list[dict[str, Any]] = json.loads(out)
    assert code == 0
    assert [Path(one["path"]).name for one in found] == ["a.JPG", "b.png", "c.webp"]
    assert all(one["size"] == [60, 50] for one in found)
    left, right = found[0]["faces"]  # from left to right
    assert left["box"] == [2, 2, 8, 8] and left["score"] == 0.5
    assert left["landmarks"] == [[4, 4], [6, 4], [5, 5], [4, 6], [6, 6.5]]
    assert left["pose"] is None and left["blendshapes"] == {"jawOpen": 0.25}
    assert right["pose"] == {"yaw": 10.123, "pitch": -5, "roll": 3}


def test_text_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = faces(capsys, folder / "b.png")
    assert code == 0
    assert out.splitlines()[0].endswith("b.png  60x50  2 faces")
    assert out.splitlines()[2] == (
        "  1: 8x6 px at 20, 2, score 0.75, yaw 10.1, pitch -5.0, roll 3.0"
    )


def test_bad_files_are_skipped_with_a_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:40])
    Image.new("RGB", (1, 1)).save(folder / "tiny.png")
    code, out, err = faces(capsys, folder, folder / "none.png", "--json")
    assert code == 0 and len(json.loads(out)) == 2
    skipped = [line for line in err.splitlines() if line.startswith("skipped: ")]
    assert [name in line for line, name in zip(skipped, ("b.png", "tiny", "none"), strict=True)]
    assert err.splitlines()[-1] == "2 of 5 images read, 3 skipped"
    code, out, err = faces(capsys, folder / "none.png", "--json")
    assert (code, out) == (2, "[]\n") and "none of 1 image can be read" in err


def test_resumes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "new" / "found.jsonl"
    first = faces(capsys, folder, "--json", "--resume", kept)[1]
    assert Always.calls == 3
    assert faces(capsys, folder, "--json", "--resume", kept)[1] == first and Always.calls == 3
    # A run that was killed in the middle of a line, and an image that has changed since.
    kept.write_text(kept.read_text()[:-30])
    assert faces(capsys, folder, "--json", "--resume", kept)[1] == first and Always.calls == 4
    os.utime(folder / "b.png", (1, 1))
    assert faces(capsys, folder, "--json", "--resume", kept)[1] == first and Always.calls == 5
    faces(capsys, folder, "--json", "--resume", kept, "--fast")
    assert Always.calls == 8
    (tmp_path / "diary.txt").write_text("Dear diary\n")
    code, _, err = faces(capsys, folder, "--resume", tmp_path / "diary.txt")
    assert code == 2 and "not a results file" in err
    assert (tmp_path / "diary.txt").read_text() == "Dear diary\n"


def test_a_result_with_an_endless_number_is_made_again(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "found.jsonl"
    first = faces(capsys, folder, "--json", "--resume", kept)[1]
    calls = Always.calls
    text, count = re.subn(r'("score": )[\d.]+', rf"\g<1>{'1' * 400}", kept.read_text(), count=1)
    kept.write_text(text)
    assert count == 1
    assert faces(capsys, folder, "--json", "--resume", kept)[1] == first
    assert Always.calls == calls + 1


def test_missing_files_are_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, said in (
        ([folder], "no face landmarker file was given"),
        ([folder, "--landmarker", tmp_path / "x.task"], "face landmarker file is missing"),
        ([folder, "--analyzer", "insightface"], "no InsightFace folder was given"),
        ([folder, "--analyzer", "insightface", "--insightface", tmp_path], "no .onnx files"),
        ([folder, "--analyzer", "yunet"], "no YuNet file was given"),
        ([folder, "--analyzer", "yunet", "--yunet", tmp_path / "x.onnx"], "YuNet file is missing"),
        ([folder.parent / "images" / "below" / ".."], "no face landmarker"),
    ):
        code = main(["faces", *map(str, arguments)])
        err = capsys.readouterr().err
        assert code == 2 and said in err.splitlines()[-1]
    (tmp_path / "empty").mkdir()
    assert "contains no images" in faces(capsys, tmp_path / "empty")[2]


def test_the_landmarker_file_comes_from_the_environment(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DENSEFACE_TASK_FILE", str(tmp_path / "y.task"))
    assert main(["faces", str(folder)]) == 2
    assert "y.task" in capsys.readouterr().err


def test_with_smirk_each_face_has_flames_numbers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm")
    from random_smirk import write_smirk

    image, kept = folder / "b.png", tmp_path / "kept"
    smirk = "--smirk", write_smirk(tmp_path / "SMIRK_em1.pt")
    _, out, _ = faces(capsys, image, "--json", *smirk, "--resume", kept)
    assert [len(face["flame"]) for face in json.loads(out)[0]["faces"]] == [55, 55]
    _, out, _ = faces(capsys, image, "--json", "--resume", kept)  # not those of SMIRK
    assert Always.calls == 2 and "flame" not in json.loads(out)[0]["faces"][0]
