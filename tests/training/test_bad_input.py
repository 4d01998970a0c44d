"""What can be wrong with base, data set and disk: one sentence, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.pipelines.ldm import UNET_PREFIX
from comfyui_dense_face.pipelines.single_file import KEYS, SHAPES
from comfyui_dense_face.storage import read_weights, write_weights
from comfyui_dense_face.training.data.shards import FaceShardWriter, shard_files
from rendered_photos import contents, write_photos
from tiny_random import write_base

SIDE = 64
TRAINERS = ("annotations", "sfsr", "dense-face")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.safetensors")


@pytest.fixture
def three_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six images of three people, a shard for each."""
    monkeypatch.setattr(FaceShardWriter, "people_at_once", 1)
    words = ["render", str(tmp_path / "faces"), "--count", "6", "--per-person", "2"]
    assert cli.main([*words, "--size", str(SIDE), "--seed", "3", "--format", "webdataset"]) == 0
    return tmp_path / "faces"


def _train(trainer: str, faces: Path, base: Path, out: Path, *more: str) -> int:
    words = ["train", trainer, "--dataset", str(faces), "--base", str(base), "--out"]
    words += [str(out / "result.safetensors"), "--folder", str(out / "work")]
    words += ["--steps", "2", "--batch", "2"]
    words += ["--workers", "0", "--precision", "no", "--size", str(SIDE), "--scheme", "ibug"]
    words += ["--width", "32", "--scale", "4"] if trainer == "annotations" else []
    words += [] if trainer == "annotations" else ["--encoder", "tiny-world"]
    return cli.main([*words, *more])


def _sentence(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if "denseface" in line]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(
    ("channels", "context", "message"),
    [
        (4, 2048, "not a Stable Diffusion 1.5 checkpoint: it is SDXL"),
        (4, 1024, "not a Stable Diffusion 1.5 checkpoint: it is Stable Diffusion 2"),
        (9, 768, "of 4 input channels: its UNet has 9"),
    ],
)
def test_bases_of_other_families(
    trainer: str, channels: int, context: int, message: str, three_shards: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    other = tmp_path / "other.safetensors"
    tensors = {
        UNET_PREFIX + "input_blocks.0.0.weight": torch.zeros(320, channels, 3, 3),
        UNET_PREFIX + KEYS: torch.zeros(*SHAPES[KEYS][:-1], context),
    }
    write_weights(other, tensors, {})
    assert _train(trainer, three_shards, other, tmp_path) == 2
    assert message in _sentence(capsys)


def test_one_corrupt_shard(
    three_shards: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Reported once with its name, counted, and the others are trained on; without any: refused."""
    shards_ = shard_files(three_shards)
    shards_[1].write_bytes(os.urandom(5000))
    assert _train("annotations", three_shards, base, tmp_path) == 0
    said = [r.message for r in caplog.records if "shard damaged" in r.message]
    assert said == [f"left out: shard damaged, its rest left out: 1 ({shards_[1].name})"]
    for shard in shards_:
        shard.write_bytes(b"nothing")
    caplog.clear()
    assert _train("annotations", three_shards, base, tmp_path / "new") == 2
    assert "the data set has no images" in _sentence(capsys)


def test_a_half_annotated_data_set(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders, shards and sorted photos: refused until ``annotate`` has come to its end."""
    monkeypatch.setattr(FaceShardWriter, "people_at_once", 2)
    write_photos(tmp_path / "photos", 4, 1)
    for number, words in enumerate(
        ([], ["--format", "webdataset"], ["--format", "webdataset", "--people", "cluster"])
    ):
        out = tmp_path / str(number)
        annotate = ["annotate", str(tmp_path / "photos"), str(out), "--analyzer", "tiny-world"]
        assert cli.main([*annotate, *words, "--shard", "1/2"]) == 0
        capsys.readouterr()
        assert _train("annotations", out, base, tmp_path) == 2
        wanted = ("2 of 4", "1 of 2", "0 of 1")[number]
        assert f"the data set is not complete: {wanted} parts are written" in _sentence(capsys)
        assert cli.main([*annotate, *words]) == 0
        assert _train("annotations", out, base, tmp_path / f"work{number}") == 0


def test_people_with_one_photo_are_counted(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They train with their own identity, which may teach copying: it is said once."""
    words = ["render", str(tmp_path / "faces"), "--count", "5", "--per-person", "2"]
    assert cli.main([*words, "--size", str(SIDE), "--seed", "3"]) == 0
    assert _train("dense-face", tmp_path / "faces", base, tmp_path) == 0
    said = [r.message for r in caplog.records if "single image" in r.message]
    assert len(said) == 1 and said[0].startswith("1 of 3 people have a single image")


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_while_annotating(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No half shard; with room again, the bytes of a run that never stopped."""
    import resource

    monkeypatch.setattr(FaceShardWriter, "people_at_once", 1)
    words = ["--count", "3", "--size", str(SIDE), "--format", "webdataset"]
    assert cli.main(["render", str(tmp_path / "whole"), *words]) == 0
    (tmp_path / "full").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        assert cli.main(["render", str(tmp_path / "full"), *words]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "full").iterdir()) == []
    assert cli.main(["render", str(tmp_path / "full"), *words]) == 0
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_while_the_result_is_saved(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The state stays, so that only the result is written again."""
    import resource

    words = ["render", str(tmp_path / "faces"), "--count", "4", "--per-person", "2"]
    assert cli.main([*words, "--size", str(SIDE), "--seed", "3"]) == 0
    assert _train("annotations", tmp_path / "faces", base, tmp_path) == 0
    before = contents(tmp_path / "work")
    first, _ = read_weights(tmp_path / "result.safetensors")
    (tmp_path / "result.safetensors").unlink()
    capsys.readouterr()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        assert _train("annotations", tmp_path / "faces", base, tmp_path) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot be written" in _sentence(capsys)
    assert not (tmp_path / "result.safetensors").exists() and contents(tmp_path / "work") == before
    assert _train("annotations", tmp_path / "faces", base, tmp_path) == 0
    again, _ = read_weights(tmp_path / "result.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
