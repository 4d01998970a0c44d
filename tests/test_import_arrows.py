"""Imports between the folders run one way (docs/architecture.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
from import_graph import imports_of, wrong_arrows
from locate_host import ROOT


def test_arrows_of_this_pack() -> None:
    assert wrong_arrows(ROOT) == []


def test_the_walk_sees_the_pack() -> None:
    """An empty walk would make the test above worthless."""
    parts = {found.part for found in imports_of(ROOT)}
    assert {"cli", "storage", "demo", "dense_face", "nodes", "pipelines"} <= parts


def _tree(root: Path, file: str, source: str) -> Path:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("dense_face/a.py", "from ..sfsr import tokens"),
        ("sfsr/a.py", "from ..dense_face.adapter import PCAdapter"),
        ("faces/a.py", "from ..dense_face import adapter"),
        ("faces/a.py", "from .. import demo"),
        ("dense_face/a.py", "import comfy.utils"),
        ("dense_face/a.py", "def f():\n    import comfy.utils"),
        ("dense_face/a.py", "from diffusers import UNet2DConditionModel"),
        ("sfsr/a.py", "try:\n    import cv2\nexcept ImportError:\n    cv2 = None"),
        ("nodes/a.py", "import insightface"),
        ("nodes/a.py", "from ..pipelines import base"),
        ("nodes/host/a.py", "from ...training import trainer"),
        ("pipelines/a.py", "from ..nodes import FacePack"),
        ("pipelines/a.py", "from comfyui_dense_face.demo import vocabulary"),
        ("pipelines/a.py", "import nodes"),
        ("unknown_folder/a.py", "import math"),
    ],
)
def test_wrong_arrows_are_seen(tmp_path: Path, file: str, source: str) -> None:
    assert len(wrong_arrows(_tree(tmp_path, file, source))) == 1


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "dense_face/a.py",
            "from ..faces.identity import Identity\nfrom ..errors import E",
        ),
        ("dense_face/a.py", "from .adapter import PCAdapter\nimport torch"),
        ("nodes/host/a.py", "import comfy.model_management\nfrom ...dense_face import adapter"),
        ("faces/a.py", "def detect():\n    import insightface"),
        (
            "pipelines/a.py",
            "from diffusers import DDIMScheduler\nfrom .. import storage",
        ),
        ("__init__.py", "async def comfy_entrypoint():\n    from .nodes import FacePack"),
        ("demo/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import comfy"),
        ("tests/a.py", "import comfy"),
    ],
)
def test_right_arrows_pass(tmp_path: Path, file: str, source: str) -> None:
    assert wrong_arrows(_tree(tmp_path, file, source)) == []
