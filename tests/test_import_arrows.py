"""Imports between the folders run one way (docs/architecture.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
from import_graph import imports_of, wrong_arrows
from locate_host import ROOT


def test_arrows_of_this_pack() -> None:
    assert wrong_arrows(ROOT) == []


def test_the_pack_is_seen() -> None:
    """Without any import found, the test above would be worthless."""
    parts = {found.part for found in imports_of(ROOT)}
    assert {"cli", "storage", "demo", "dense_face", "nodes", "pipelines", "benchmarks"} <= parts


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
        ("faces/a.py", "def f():\n    from diffusers import UNet2DConditionModel"),
        ("dense_face/a.py", "def f():\n    import transformers.models"),
        ("sfsr/a.py", "class A:\n    def f(self):\n        from accelerate import Accelerator"),
        ("demo/a.py", "async def f():\n    import webdataset"),
        ("nodes/a.py", "def f():\n    import diffusers"),
        ("commands/a.py", "def f():\n    import transformers"),
        ("evaluation/a.py", "def f():\n    import accelerate"),
        ("sfsr/a.py", "def f():\n    import cv2"),
        ("demo/a.py", "def f():\n    from insightface.app import FaceAnalysis"),
        ("dense_face/a.py", "def f():\n    import onnxruntime"),
        ("faces/a.py", "def f():\n    import matplotlib.pyplot"),
        ("faces/a.py", "import importlib\ncv2 = importlib.import_module('cv2')"),
        ("sfsr/a.py", "def f():\n    return import_module('diffusers.models')"),
        ("demo/a.py", "def f():\n    return __import__('comfy.utils')"),
        ("nodes/a.py", "def f():\n    from ..benchmarks import host"),
        ("pipelines/a.py", "import comfy_execution.graph"),
        ("benchmarks/a.py", "from .. import cli"),
        ("benchmarks/a.py", "import folder_paths"),
        ("benchmarks/a.py", "def f():\n    import diffusers"),
        ("benchmarks/a.py", "import matplotlib"),
        ("demo/a.py", "if TYPE_CHECKING:\n    import comfy\nelse:\n    import comfy"),
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
        ("demo/a.py", "import typing\nif typing.TYPE_CHECKING:\n    import comfy"),
        ("faces/a.py", "def opencv():\n    return importlib.import_module('cv2')"),
        ("pipelines/a.py", "def f():\n    from transformers import CLIPTextModel"),
        ("training/a.py", "def f():\n    from accelerate import Accelerator"),
        ("benchmarks/a.py", "from ..nodes.sockets import People\nfrom comfy.ldm import modules"),
        ("benchmarks/a.py", "def f():\n    import comfy.samplers, matplotlib, skimage"),
        ("tests/a.py", "import comfy"),
    ],
)
def test_right_arrows_pass(tmp_path: Path, file: str, source: str) -> None:
    assert wrong_arrows(_tree(tmp_path, file, source)) == []
