"""A small data set, for the trainers of adapters."""

from __future__ import annotations

from pathlib import Path

import pytest
from comfyui_dense_face import cli


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of four people; the last has one. Not to be changed."""
    out = tmp_path_factory.mktemp("data") / "faces"
    words = ["render", str(out), "--count", "7", "--per-person", "2", "--size", "96", "--seed", "3"]
    assert cli.main(words) == 0
    return out
