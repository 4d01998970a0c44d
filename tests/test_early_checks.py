"""Options that cannot be used are refused before anything is loaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from comfyui_dense_face.commands.checks import require_file, require_folder
from comfyui_dense_face.errors import InputError


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the folder that is there already."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    for check in (require_folder, require_file):
        with pytest.raises(InputError, match=rf"--out cannot be written \({tmp_path}\)"):
            check("--out", tmp_path / "new" / "file")
    monkeypatch.undo()
    require_folder("--out", tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())
