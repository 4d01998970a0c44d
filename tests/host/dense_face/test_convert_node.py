"""The released checkpoint converted by its node: same files as by the command."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfyui_dense_face.dense_face.checkpoints.convert import Plan, convert
from in_host import Tiny
from released_file import full_shapes, random_tensors, small_shapes, write_lightning
from safetensors.torch import load_file

ENCODER = "id_loss_func.facenet."


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small one, but for the encoder, whose size is checked."""
    encoder = {name: kind for name, kind in full_shapes().items() if name.startswith(ENCODER)}
    folder = tmp_path_factory.mktemp("release")
    return write_lightning(folder / "epoch=1.ckpt", random_tensors(small_shapes() | encoder))


@pytest.fixture
def models(tiny: Tiny, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's models folder, with the release as its only checkpoint."""
    import folder_paths

    (tmp_path / "dense_face").mkdir()
    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    registered = ([str(release.parent)], {".ckpt", ".safetensors"})
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "checkpoints", registered)
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path / "dense_face"


def same(one: Path, other: Path) -> bool:
    ours, theirs = load_file(one), load_file(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_adapter_and_encoder(tiny: Tiny, models: Path, release: Path, tmp_path: Path) -> None:
    """As the command writes them; neither is written over."""
    report = tiny.run("ConvertRelease", release.name, half_precision=True)
    plan = Plan(tmp_path / "a.safetensors", ir_se50=tmp_path / "e.safetensors")
    convert(release, plan)
    for name, expected in zip(("dense_face", "ir_se50"), plan.files(), strict=True):
        assert same(models / f"{name}.safetensors", expected)
        assert f"{name}.safetensors" in report
    with pytest.raises(ValueError, match=r"dense_face\.safetensors is there already"):
        tiny.run("ConvertRelease", release.name, half_precision=True)


def test_an_encoder_that_is_there_stays(
    tiny: Tiny, models: Path, release: Path, tmp_path: Path
) -> None:
    (models / "ir_se50.safetensors").write_bytes(b"mine")
    report = tiny.run("ConvertRelease", release.name, half_precision=False)
    plan = Plan(tmp_path / "a.safetensors", dtype=torch.float32)
    convert(release, plan)
    assert same(models / "dense_face.safetensors", plan.adapter)
    assert "ir_se50" not in report
    assert (models / "ir_se50.safetensors").read_bytes() == b"mine"


def test_a_stopped_run_leaves_nothing(
    tiny: Tiny, models: Path, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_management as mm

    def stop() -> None:
        raise mm.InterruptProcessingException

    monkeypatch.setattr(mm, "throw_exception_if_processing_interrupted", stop)
    with pytest.raises(mm.InterruptProcessingException):
        tiny.run("ConvertRelease", release.name, half_precision=True)
    assert list(models.iterdir()) == []


def test_what_is_missing_is_explained(tiny: Tiny, models: Path) -> None:
    node = next(n for n in tiny.module("nodes").NODES if n.__name__ == "ConvertRelease")
    said = node.validate_inputs("none yet")
    assert "5.7 GB" in said and "CHELSEA234" in said and "reload the lists" in said
    assert "gone.ckpt is missing" in node.validate_inputs("gone.ckpt")
