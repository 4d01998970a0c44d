"""Malformed faces are told from well-formed ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.demo.bundled import ANALYZER_FILE, MALFORMED_FILE, WEIGHTS
from comfyui_dense_face.demo.networks.analyzer import TinyAnalyzer, load_analyzer
from comfyui_dense_face.demo.networks.malformed import (
    LEVELS,
    MalformedCriterion,
    load_malformed_criterion,
    patch_features,
)
from comfyui_dense_face.demo.people import sample_heads
from comfyui_dense_face.demo.renderer.renderer import render
from comfyui_dense_face.evaluation.metrics import malformed_fraction
from comfyui_dense_face.training.tiny.deformations import deformed
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def net() -> TinyAnalyzer:
    return load_analyzer()


def test_deformed_renders_are_recognised_and_renders_are_not(net: TinyAnalyzer) -> None:
    heads = render(sample_heads(list(range(9_000, 9_012))))
    wrong, chance = heads.rgb, torch.Generator().manual_seed(0)
    for _ in range(3):  # a single deformation often goes unseen
        wrong = deformed(wrong, heads.landmarks, chance)
    assert malformed_fraction(net, heads.rgb) <= 1 / 12
    assert malformed_fraction(net, wrong) >= 0.5


def test_an_image_without_a_face_is_malformed(net: TinyAnalyzer) -> None:
    assert malformed_fraction(net, torch.full((1, 3, 128, 128), 0.5)) == 1


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(-1, 1), st.integers(-1, 1), st.floats(0.5, 1.5))
def test_features_follow_the_landmarks(seed: int, right: int, down: int, size: float) -> None:
    """A face of any size that moves by whole cells has the same features."""
    chance = torch.Generator().manual_seed(seed)
    levels = [torch.randn(1, 3, 32, 32, generator=chance)] * (max(LEVELS) + 1)
    points = 0.5 + size * 0.2 * (torch.rand(1, 68, 2, generator=chance) - 0.5)
    moved = [level.roll((8 * down, 8 * right), (2, 3)) for level in levels]
    shift = torch.tensor([right, down]) / 4
    there = patch_features(moved, points + shift)
    assert torch.allclose(patch_features(levels, points), there, atol=1e-3)


def test_an_analyzer_trained_since_has_no_criterion(net: TinyAnalyzer, tmp_path: Path) -> None:
    assert load_malformed_criterion("another") is None
    bundled = WEIGHTS / MALFORMED_FILE
    assert bundled.stat().st_size < 60_000
    about = json.loads(bundled.read_text(encoding="utf-8"))
    own = tmp_path / MALFORMED_FILE
    own.write_text(json.dumps({**about, "analyzer": "another", "bias": 5}), encoding="utf-8")
    found = load_malformed_criterion("another", own)
    assert isinstance(found, MalformedCriterion) and found.bias == 5
    assert load_analyzer(WEIGHTS / ANALYZER_FILE).malformed is not None
    assert set(net.state_dict()) == set(TinyAnalyzer().state_dict())
    nothing = malformed_fraction(TinyAnalyzer(), torch.zeros(1, 3, 128, 128))
    assert torch.tensor(nothing).isnan()
