"""Whether a run learns: a paired comparison sees what the losses themselves hide."""

from __future__ import annotations

import random

import pytest
from comfyui_dense_face.training.watch.learning_check import compare, sentence


def _losses(seed: int, gain: float, spread: float) -> tuple[list[float], list[float]]:
    """Losses of 16 batches before and after; the batches differ far more than the gain."""
    chance = random.Random(seed)
    before = [chance.gauss(1.0, 0.3) for _ in range(16)]
    return before, [loss - chance.gauss(gain, spread) for loss in before]


def test_a_small_gain_is_seen_under_the_noise_of_batches() -> None:
    """Half a percent, where batches differ by 30: their means alone would show nothing."""
    for seed in range(50):
        found = compare(*_losses(seed, 0.005, 0.002))
        assert found.learns and not found.worsens
        unpaired = 0.3 * (2 / 16) ** 0.5
        assert found.difference < unpaired / 10
    assert all(compare(*_losses(seed, -0.005, 0.002)).worsens for seed in range(50))


def test_chance_alone_is_rarely_clear() -> None:
    found = [compare(*_losses(seed, 0.0, 0.01)) for seed in range(2000)]
    assert sum(each.learns for each in found) < 20 and sum(each.worsens for each in found) < 20


def test_numbers_and_words() -> None:
    found = compare([1.0, 2.0, 3.0], [0.5, 1.0, 2.0])
    assert (found.before, found.difference) == (2.0, pytest.approx(0.8333, abs=1e-4))
    assert found.error == pytest.approx(0.1667, abs=1e-4) and found.learns
    text = sentence(found, 200, 1e-3, people=3)
    assert text == (
        "it learns: held-out loss 2 at the start, 1.167 after 200 steps, paired difference "
        "0.83 ± 0.2"
    )
    worse = sentence(compare([0.5, 1.0, 2.0], [1.0, 2.0, 3.0]), 200, 3e-3, people=0)
    assert "it gets worse: loss of the training images" in worse and "such as 0.001" in worse
    same = sentence(compare([1.0, 2.0], [1.0, 2.0]), 200, 1e-4, people=3)
    assert "does not learn yet" in same and "such as 0.0003" in same
    assert all("\n" not in each for each in (text, worse, same))
