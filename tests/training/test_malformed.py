"""The criterion of malformed faces: deformations, the fit, and the stage of ``train-demo``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.demo.bundled import ANALYZER_FILE, MALFORMED_FILE, WEIGHTS
from comfyui_dense_face.demo.networks.analyzer import load_analyzer
from comfyui_dense_face.training.tiny import data
from comfyui_dense_face.training.tiny.deformations import deformed
from comfyui_dense_face.training.tiny.malformed import MALFORMED, fitted, malformed
from comfyui_dense_face.training.tiny.run import TrainingRun


def test_faces_are_deformed_and_nothing_else() -> None:
    chance = torch.Generator().manual_seed(1)
    images = torch.rand(12, 3, 128, 128, generator=chance)
    points = 0.5 + 0.2 * (torch.rand(12, 68, 2, generator=chance) - 0.5)
    wrong, again = (
        deformed(images, points, torch.Generator().manual_seed(seed)) for seed in (2, 2)
    )
    assert torch.equal(wrong, again) and float(wrong.min()) >= 0 and float(wrong.max()) <= 1
    changed = (wrong - images).abs().amax(1)
    assert bool((changed.amax((1, 2)) > 0.1).all())
    border = torch.ones(128, 128, dtype=torch.bool)
    border[24:-24, 24:-24] = False
    assert float(changed[:, border].max()) < 1e-4


def test_one_percent_of_well_formed_faces_lie_above_the_threshold() -> None:
    chance = torch.Generator().manual_seed(0)
    true, others, fresh = (torch.randn(8_000, 30, generator=chance) for _ in range(3))
    wrong = torch.randn(8_000, 30, generator=chance)
    wrong[:, 3] += 4
    values = fitted(true, wrong, others)
    weight = torch.tensor(values["coefficients"])
    logits = [x @ weight + values["bias"] for x in (fresh, wrong)]
    assert float((logits[0] > 0).float().mean()) == pytest.approx(MALFORMED, abs=0.005)
    assert float((logits[1] > 0).float().mean()) > 0.9
    assert int(weight.abs().argmax()) == 3


def test_the_stage_writes_the_criterion_of_its_analyzer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, weights = tmp_path / "images", tmp_path / "weights"
    images.mkdir()
    weights.mkdir()
    shutil.copy(WEIGHTS / ANALYZER_FILE, weights)
    monkeypatch.setattr(data, "PER_SHARD", 4)
    data._render_shard((images, 0))
    malformed(TrainingRun(tmp_path, weights, images=4))
    about = json.loads((weights / MALFORMED_FILE).read_text(encoding="utf-8"))
    found = load_analyzer(weights / ANALYZER_FILE).malformed
    assert found is not None and found.bias == about["bias"]
    assert about["command"] == "denseface train-demo malformed --images 4"
