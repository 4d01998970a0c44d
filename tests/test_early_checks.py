"""Options that cannot be used are refused before anything is loaded."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pytest
from comfyui_dense_face import cli
from comfyui_dense_face.commands.checks import (
    require_file,
    require_folder,
    require_present,
    require_safetensors,
)
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.encoders import ir_se50
from comfyui_dense_face.pipelines import single_file
from comfyui_dense_face.training.data import dataset


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the folder that is there already."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    for check in (require_folder, require_file):
        with pytest.raises(InputError, match=rf"--out cannot be written \({tmp_path}\)"):
            check("--out", tmp_path / "new" / "file")
    monkeypatch.undo()
    require_folder("--out", tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())


def test_missing_files_are_named_together(tmp_path: Path) -> None:
    here, gone, other = (tmp_path / name for name in ("here", "gone", "other"))
    here.touch()
    args = argparse.Namespace(
        base=here, clip_vision=gone, scene=[here, other], out=gone, vae=None, seed=1
    )
    with pytest.raises(InputError, match=r"3 files .*--clip-vision \S+, --scene \S+, \S+weights"):
        require_present(args, contents=[here, tmp_path / "weights"])
    with pytest.raises(InputError, match=r"a file or folder to read is missing \(--scene "):
        require_present(args, "clip_vision")
    require_present(args, "clip_vision", "scene")


def test_weights_get_a_name_that_loaders_list(tmp_path: Path) -> None:
    require_safetensors("--out", tmp_path / "mine.safetensors")
    with pytest.raises(InputError, match=r"--out is no name .* Name it mine\.ckpt\.safetensors"):
        require_safetensors("--out", tmp_path / "mine.ckpt")


@pytest.mark.parametrize(
    "words",
    [
        ["train-sfsr", "DATA", "--base", "HERE", "--out", "OUT.safetensors", "--ir-se50", "HERE"],
        ["train-annotations", "DATA", "--base", "HERE", "--out", "OUT.safetensors"],
        ["calibrate-identity", "HERE", "--encoder", "HERE"],
        ["annotate", "DATA", "OUT"],
    ],
    ids=lambda words: words[0],
)
def test_commands_look_before_they_load(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The option that is read last of all."""
    option = {"calibrate-identity": "--features", "annotate": "--landmarker"}
    monkeypatch.setattr(dataset, "require_data_set", lambda _: None)
    for module, name in ((single_file, "load_checkpoint"), (ir_se50, "load_ir_se50")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("something is loaded"))
    (tmp_path / "HERE").touch()
    monkeypatch.chdir(tmp_path)
    assert cli.main([*words, option.get(words[0], "--tokenizer"), "gone"]) == 2
    assert "missing (" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["HERE"]
