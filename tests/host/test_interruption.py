"""Nodes that go through a batch stop after the image at which the user stops the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from in_host import Tiny

NODES = [
    "PoseSweep", "EncodeIdentity", "MeasureLikeness", "FaceMask", "PasteMask", "MaskFaces",
    "CropFace", "PasteFace", "DrawFaces", "Background",
]  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tiny: Tiny) -> dict[str, tuple[Any, ...]]:
    """Of each node, for two images."""
    analyzer = tiny.run("LoadTinyAnalyzer")
    images = torch.cat([tiny.run("TinyPortrait", 2, s, 0.0, 0.0, 0.0, 128)[0] for s in (3, 8)])
    faces = tiny.run("DetectFaces", analyzer, images, "largest first", 0, 0.0, 0, "error", True)[0]
    crops, cropped = tiny.run("CropFace", faces, images, 64, 0.25)
    mask = tiny.run("FaceMask", analyzer, images, "face", 0.1, 0.0)
    parts = {"face": True, "eyes": False, "brows": False, "nose": False, "mouth": False}
    ends = (f"{end}_{angle}" for end in ("from", "to") for angle in ("yaw", "pitch", "roll"))
    return {
        "PoseSweep": (dict.fromkeys(ends, 0.0) | {"count": 2, "size": 64},),
        "EncodeIdentity": (analyzer, images, "one person", faces),
        "MeasureLikeness": (analyzer, images, images),
        "FaceMask": (analyzer, images, "face", 0.1, 0.0),
        "PasteMask": (analyzer, images, images, mask, 0.0),
        "MaskFaces": ({"faces": faces, "image": images, "one_for": "a face", "grow": 0.0,
                       "feather": 0.0, **parts},),
        "CropFace": (faces, images, 64, 0.25),
        "PasteFace": (images, crops, cropped, 0.06, False),
        "DrawFaces": (faces, images, True, True, True, True),
        "Background": (images, mask, tiny.vae, 0.0, "mask first"),
    }  # fmt: skip


@pytest.fixture
def stopped() -> Iterator[type[BaseException]]:
    """The user has stopped the run; the exception that ends it."""
    import comfy.model_management as mm

    mm.interrupt_current_processing(True)
    yield mm.InterruptProcessingException
    mm.interrupt_current_processing(False)


@pytest.mark.parametrize("node", NODES)
def test_a_stopped_run_ends(
    tiny: Tiny, inputs: dict[str, tuple[Any, ...]], node: str, stopped: type[BaseException]
) -> None:
    given = inputs[node]
    args, named = ((), given[0]) if isinstance(given[0], dict) else (given, {})
    with pytest.raises(stopped):
        tiny.run(node, *args, **named)
