"""Outputs whose size is a product of inputs: refused in a sentence before memory is taken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from in_host import Tiny

IMAGE = torch.zeros(1, 64, 64, 3)
ENDS = {f"{end}_{name}": 0.0 for end in ("from", "to") for name in ("yaw", "pitch", "roll")}


def faces(tiny: Tiny) -> Any:
    points = "20 20 40 20 30 32 22 42 38 42"
    return tiny.run("FacesByHand", IMAGE, 8, 8, 48, 48, points, True, 0.0, 0.0, 0.0)


def travel(tiny: Tiny) -> Any:
    word = tiny.run("ExpressionFromWord", "happy", 1.0, 0, 0.0)
    return tiny.run("ExpressionTravel", word, word, 16)


def crops(tiny: Tiny) -> Any:
    return tiny.run("CropFace", faces(tiny), IMAGE, 16, 0.25)[1]


PARTS = {"face": True, "eyes": False, "brows": False, "nose": False, "mouth": False}
RUNS: dict[str, Callable[[Tiny], Any]] = {
    "Head Pose Sweep": lambda tiny: tiny.run("PoseSweep", count=16, size=64, **ENDS),
    "Head Pose of Faces": lambda tiny: tiny.run("PoseFromFaces", faces(tiny), 256),
    "Preview Expression": lambda tiny: tiny.run("PreviewExpression", travel(tiny), 1, 64),
    "Crop Face": lambda tiny: tiny.run("CropFace", faces(tiny), IMAGE, 256, 0.25),
    "Mask from Faces": lambda tiny: tiny.run(
        "MaskFaces", faces(tiny), torch.zeros(16, 64, 64, 3), "a face", grow=0.0, feather=0.0,
        **PARTS,
    ),
    "Composite Face": lambda tiny: tiny.run(
        "Composite", IMAGE, torch.zeros(16, 8, 8, 3), torch.ones(1, 8, 8), 0.0
    ),
    "Paste Mask": lambda tiny: tiny.run(
        "PasteMask", None, IMAGE, torch.zeros(16, 8, 8, 3), torch.ones(1, 8, 8), 0.03
    ),
    "Paste Face": lambda tiny: tiny.run(
        "PasteFace", IMAGE, torch.zeros(16, 16, 16, 3), crops(tiny), 0.0, False
    ),
}  # fmt: skip


@pytest.mark.parametrize("node", list(RUNS))
def test_what_does_not_fit(tiny: Tiny, node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management as mm

    with monkeypatch.context() as patch:
        # Enough for the nodes in between.
        patch.setattr(mm, "get_free_memory", lambda *_, **__: 200_000)
        with pytest.raises(ValueError, match=rf"GB of memory, 0\.0 are free \({node}\)\..*\.$"):
            RUNS[node](tiny)
    if node not in ("Mask from Faces", "Paste Mask"):  # those need an analyzer
        RUNS[node](tiny)


def test_the_largest_sweep(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import comfy.model_management as mm

    drawn = tiny.module("dense_face.pose_image")
    monkeypatch.setattr(mm, "get_free_memory", lambda *_, **__: 8 * 2**30)
    monkeypatch.setattr(drawn, "pose_image", lambda *_, **__: pytest.fail("drawn"))
    sentence = r"256 images of 2048x2048 px need 36\.0 GB of memory, 8\.0 are free"
    with pytest.raises(ValueError, match=sentence):
        tiny.run("PoseSweep", count=256, size=2048, **ENDS)
