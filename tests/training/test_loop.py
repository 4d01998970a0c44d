"""The training loop: the same result whether a run was killed or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.errors import ModelFileError
from comfyui_dense_face.training.loop import Schedule, train
from torch import Tensor, nn


class Line(nn.Module):
    """Fits y = 3 x + 1 from noisy points drawn from the step's generator."""

    def __init__(self, width: int = 1, dies_at: int | None = None) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 1)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.dies_at = dies_at
        self.calls = 0

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        self.calls += 1
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        x = torch.randn(16, self.layer.in_features, generator=generator)
        error = self.layer(x) - (3 * x[:, :1] + 1)
        return {"loss": error.square().mean()}


SCHEDULE = Schedule(steps=60, lr=0.1, warmup=5, save_every=10, precision="no")


def test_learns(tmp_path: Path) -> None:
    line = Line()
    train(line, SCHEDULE, seed=1, folder=tmp_path)
    assert line.layer.weight.item() == pytest.approx(3, abs=0.3)
    assert not any(p.requires_grad for p in line.parameters())


def test_killed_and_resumed_equals_unbroken(tmp_path: Path) -> None:
    whole = Line()
    train(whole, SCHEDULE, seed=1, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Line(dies_at=37), SCHEDULE, seed=1, folder=tmp_path / "broken")
    resumed = Line()
    train(resumed, SCHEDULE, seed=1, folder=tmp_path / "broken")
    assert resumed.calls == 30  # from the last saved state, step 30
    assert torch.equal(whole.layer.weight, resumed.layer.weight)


class Normed(nn.Module):
    """A line behind a frozen batch norm and one that learns."""

    def __init__(self, seen: float) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm1d(1).requires_grad_(False)
        self.frozen.running_mean.fill_(seen)  # type: ignore[union-attr]
        self.own = nn.BatchNorm1d(1)

    def train(self, mode: bool = True) -> Normed:
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        x = 5 + torch.randn(16, 1, generator=generator)
        return {"loss": (self.own(x) + self.frozen(x) - 1).square().mean()}


def test_statistics_of_frozen_layers_stay_those_of_their_file(tmp_path: Path) -> None:
    train(Normed(2.0), SCHEDULE, seed=1, folder=tmp_path)
    longer = Normed(3.0)
    train(longer, replace(SCHEDULE, steps=61), seed=1, folder=tmp_path)
    assert float(longer.frozen.running_mean) == 3.0  # type: ignore[arg-type]
    assert float(longer.own.running_mean) == pytest.approx(5, abs=0.5)  # type: ignore[arg-type]


def test_finished_run_returns_at_once(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    again = Line()
    train(again, SCHEDULE, seed=1, folder=tmp_path)
    assert again.calls == 0
    assert again.layer.weight.item() == pytest.approx(3, abs=0.3)


def test_curve_is_written(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == [10, 20, 30, 40, 50, 60]
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_foreign_state_is_refused(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    with pytest.raises(ModelFileError, match="another network"):
        train(Line(width=2), SCHEDULE, seed=1, folder=tmp_path)
