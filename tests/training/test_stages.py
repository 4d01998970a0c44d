"""The stages of ``train-demo``: every bundled file has one, and unknown names are refused."""

from __future__ import annotations

import pytest
from comfyui_dense_face import cli
from comfyui_dense_face.demo.bundled import WEIGHTS, stage_of
from comfyui_dense_face.training.tiny.stages import STAGES


def test_every_bundled_file_has_a_stage_that_makes_it() -> None:
    bundled = [path.stem for path in WEIGHTS.glob("*.safetensors")]
    assert bundled and {stage_of(name) for name in bundled} <= set(STAGES)


def test_unknown_stages_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train-demo", "analyser"]) == cli.EXIT_USER_ERROR
    message = capsys.readouterr().err
    assert "analyser" in message and "dense-face" in message
