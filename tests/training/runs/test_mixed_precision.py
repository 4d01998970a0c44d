"""fp16: gradients are unscaled before clipping, and steps that overflow are skipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from comfyui_dense_face.training.runs import loop
from comfyui_dense_face.training.runs.loop import Schedule, train
from comfyui_dense_face.training.watch.curve import read_curve
from torch import Tensor, nn

SCALE = 1024.0
LAST = "state-00000060.pt"
SCHEDULE = Schedule(steps=60, lr=0.1, warmup=5, save_every=10, precision="fp16")


class ScalingAccelerator(Accelerator):
    """fp16 with a real gradient scaler on CPU tensors; accelerate itself wants a GPU for it."""

    norms: list[float]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(cpu=True, **kwargs)
        self.state._mixed_precision = "fp16"
        self.native_amp = True
        self.scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
        type(self).norms = []

    def clip_grad_norm_(self, *args: Any, **kwargs: Any) -> Tensor:
        norm = super().clip_grad_norm_(*args, **kwargs)
        assert norm is not None
        self.norms.append(float(norm))
        return norm


@pytest.fixture(autouse=True)
def _scaling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "Accelerator", ScalingAccelerator)


class Line(nn.Module):
    """Fits y = 3 x + 1; keeps its weight of every step."""

    def __init__(self, overflows_at: int = -1, dies_at: int = -1) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.overflows_at, self.dies_at = overflows_at, dies_at
        self.weights: list[float] = []
        self.dtypes: set[torch.dtype] = set()

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        step = len(self.weights)
        if step == self.dies_at:
            raise KeyboardInterrupt
        self.weights.append(self.layer.weight.item())
        x = torch.randn(16, 1, generator=generator)
        y = self.layer(x)
        self.dtypes.add(y.dtype)
        error = (y.float() - (3 * x + 1)).square().mean()
        return {"loss": error * (1e36 if step == self.overflows_at else 1)}


def test_norms_are_unscaled_before_clipping(tmp_path: Path) -> None:
    line = Line()
    train(line, SCHEDULE, seed=1, folder=tmp_path)
    assert line.dtypes == {torch.float16}
    x = torch.randn(16, 1, generator=loop.step_generator(1, 0))
    slope, offset = (2 * (-(3 * x + 1) * x).mean(), 2 * -(3 * x + 1).mean())
    assert ScalingAccelerator.norms[0] == pytest.approx(float(slope.hypot(offset)), rel=0.01)
    assert line.layer.weight.item() == pytest.approx(3, abs=0.5)


def test_an_overflowing_step_is_skipped(tmp_path: Path) -> None:
    line = Line(overflows_at=7)
    train(line, SCHEDULE, seed=1, folder=tmp_path)
    moved = [a != b for a, b in zip(line.weights, line.weights[1:], strict=False)]
    assert [step for step, changed in enumerate(moved) if not changed] == [7]
    assert bool(torch.tensor(line.weights).isfinite().all())
    assert line.layer.weight.item() == pytest.approx(3, abs=0.5)
    state = torch.load(tmp_path / LAST, weights_only=True)
    assert state["scaler"]["scale"] == SCALE / 2


def test_a_skipped_step_changes_neither_weights_nor_average(tmp_path: Path) -> None:
    """Only the scale is halved, and the step counts."""
    schedule = replace(SCHEDULE, steps=9, save_every=1, keep=3)
    train(Line(overflows_at=7), schedule, seed=1, folder=tmp_path)
    before, skipped, after = (
        torch.load(tmp_path / f"state-{step:08d}.pt", weights_only=True) for step in (7, 8, 9)
    )
    for part in ("task", "average"):
        for name, tensor in before[part].items():
            assert torch.equal(skipped[part][name], tensor)
            assert not torch.equal(after[part][name], tensor)
            assert bool(after[part][name].isfinite().all())
    assert before["scaler"]["scale"] == SCALE
    assert skipped["scaler"]["scale"] == after["scaler"]["scale"] == SCALE / 2
    (*_, last) = read_curve(tmp_path)
    assert last["step"] == 9 and 0 < last["grad_norm"] < 100  # the overflow does not count


def test_a_resumed_run_keeps_its_scale(tmp_path: Path) -> None:
    whole = Line(overflows_at=7)
    train(whole, SCHEDULE, seed=1, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Line(overflows_at=7, dies_at=25), SCHEDULE, seed=1, folder=tmp_path / "killed")
    resumed = Line()
    train(resumed, SCHEDULE, seed=1, folder=tmp_path / "killed")
    assert len(resumed.weights) == 40
    assert torch.equal(whole.layer.weight, resumed.layer.weight)
    state = torch.load(tmp_path / "killed" / LAST, weights_only=True)
    assert state["scaler"]["scale"] == SCALE / 2
