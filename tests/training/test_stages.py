"""The stages of ``train-demo``: one list for the command, the functions and the error messages."""

from __future__ import annotations

from comfyui_dense_face.commands.train_demo import STAGE_NAMES
from comfyui_dense_face.demo.bundled import WEIGHTS
from comfyui_dense_face.pipelines.tiny.weights import STAGE_OF
from comfyui_dense_face.training.tiny.stages import STAGES


def test_every_stage_has_its_name_and_its_turn() -> None:
    assert tuple(STAGES) == STAGE_NAMES


def test_every_bundled_file_has_a_stage_that_makes_it() -> None:
    bundled = {path.stem for path in WEIGHTS.glob("*.safetensors")}
    assert bundled == set(STAGE_OF)
    assert set(STAGE_OF.values()) <= set(STAGE_NAMES)
