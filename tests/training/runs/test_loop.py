"""The training loop: the same result whether a run was killed or not."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import InputError, ModelFileError
from comfyui_dense_face.training.runs.loop import Schedule, step_generator, train
from comfyui_dense_face.training.runs.optimizer import new_optimizer
from comfyui_dense_face.training.runs.work_folder import locked, states
from comfyui_dense_face.training.watch.curve import read_curve
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
LAST = "state-00000060.pt"


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


def test_frozen_layers_are_those_of_their_file(tmp_path: Path) -> None:
    """They are not in the state; a state of other ones is refused."""
    normed = Normed(2.0)
    train(normed, SCHEDULE, seed=1, folder=tmp_path)
    assert float(normed.own.running_mean) == pytest.approx(5, abs=0.5)  # type: ignore[arg-type]
    state = torch.load(tmp_path / LAST, weights_only=True)
    assert state["task"].keys() == {f"own.{name}" for name in normed.own.state_dict()}
    with pytest.raises(InputError, match=r"other contents of frozen \("):
        train(Normed(3.0), SCHEDULE, seed=1, folder=tmp_path)


def test_finished_run_returns_at_once(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    again = Line()
    train(again, SCHEDULE, seed=1, folder=tmp_path)
    assert again.calls == 0
    assert again.layer.weight.item() == pytest.approx(3, abs=0.3)


def test_foreign_state_is_refused(tmp_path: Path) -> None:
    train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    with pytest.raises(ModelFileError, match=r"another network.*--fresh"):
        train(Line(width=2), SCHEDULE, seed=1, folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.2}, "lr 0.2 instead of 0.1 ("),
        ({"steps": 61}, "steps 61 instead of 60 ("),
        ({"weight_decay": 0.0}, "weight decay 0.0 instead of 0.01 ("),
        ({"optimizer": "adamw"}, "optimizer adamw instead of muon ("),
        ({"accumulation": 2}, "processes 2 instead of 1 ("),
    ],
)
def test_a_run_with_other_settings_is_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """The sentence names what differs; nothing is lost, and ``fresh`` starts anew."""
    train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError) as refused:
        train(Line(), replace(SCHEDULE, **change), seed=1, folder=tmp_path)
    assert message in str(refused.value) and "--fresh" in str(refused.value)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    again = Line()
    train(again, replace(SCHEDULE, **change), seed=1, folder=tmp_path, fresh=True)
    assert again.calls >= 60


def test_what_does_not_change_the_result_may_change(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(Line(dies_at=37), SCHEDULE, seed=1, folder=tmp_path)
    resumed = Line()
    train(resumed, replace(SCHEDULE, save_every=7, keep=4), seed=1, folder=tmp_path)
    assert resumed.calls == 30


def test_a_state_of_the_first_version_is_not_ignored_silently(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state.pt").write_bytes(b"old")
    train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    assert "state.pt is of an older version and is not read: the run starts anew" in caplog.text
    caplog.clear()
    train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    assert "state.pt" not in caplog.text
    train(Line(), SCHEDULE, seed=1, folder=tmp_path, fresh=True)
    assert not (tmp_path / "state.pt").exists()


def test_two_runs_in_one_folder_are_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(InputError, match="another run is training") as refused:
        train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    assert str(tmp_path) in str(refused.value)
    train(Line(), SCHEDULE, seed=1, folder=tmp_path)


def test_the_last_states_are_kept_and_a_damaged_one_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = Line()
    train(whole, SCHEDULE, seed=1, folder=tmp_path)
    assert [step for step, _ in states(tmp_path)] == [60, 50]
    newest = tmp_path / LAST
    newest.write_bytes(newest.read_bytes()[:-100])
    resumed = Line()
    train(resumed, SCHEDULE, seed=1, folder=tmp_path)
    assert resumed.calls == 10 and LAST in caplog.text
    assert torch.equal(whole.layer.weight, resumed.layer.weight)
    assert [point["step"] for point in read_curve(tmp_path)] == [10, 20, 30, 40, 50, 60]
    for _, path in states(tmp_path):
        path.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match=r"no saved state .* can be read: state.*--fresh"):
        train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    assert "Download" not in caplog.text


def test_a_damaged_state_does_not_count_among_those_that_are_kept(tmp_path: Path) -> None:
    """Else the good ones would go, and a run that is killed again could not be resumed."""
    train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    (tmp_path / LAST).write_bytes(b"half of a state")
    rarely = replace(SCHEDULE, save_every=7, keep=1)
    with pytest.raises(KeyboardInterrupt):
        train(Line(dies_at=8), rarely, seed=1, folder=tmp_path)
    assert [step for step, _ in states(tmp_path)] == [60, 56]
    resumed = Line()
    train(resumed, rarely, seed=1, folder=tmp_path)
    assert resumed.calls == 4 and [step for step, _ in states(tmp_path)] == [60]


class Spoilt(Line):
    """A line whose loss or gradient is not finite in one step, or grows from one on."""

    def __init__(self, how: str, at: int) -> None:
        super().__init__()
        self.how, self.at = how, at
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        loss = super().forward(generator)["loss"]
        if self.calls >= self.at:
            if self.how == "loss":
                loss = loss * float("nan")
            elif self.how == "gradients":  # of a square root at zero
                loss = loss + (0 * self.layer.weight.sum()).sqrt()
            else:
                loss = loss + 1000.0
        return {"loss": loss}


@pytest.mark.parametrize(
    ("how", "at", "message"),
    [
        ("loss", 25, "the loss of step 25 is nan"),
        ("gradients", 25, "the gradients of step 25 are not finite"),
        ("growth", 56, "the loss has risen from"),
    ],
)
def test_a_spoilt_step_stops_before_the_weights_are_touched(
    how: str, at: int, message: str, tmp_path: Path
) -> None:
    spoilt = Spoilt(how, at)
    with pytest.raises(InputError, match=message) as stopped:
        train(spoilt, SCHEDULE, seed=1, folder=tmp_path)
    assert f"last good state in {tmp_path}" in str(stopped.value)
    assert bool(spoilt.layer.weight.isfinite().all())
    state = torch.load(states(tmp_path)[0][1], weights_only=True)
    assert state["step"] == at // 10 * 10
    tensors = [*state["task"].values(), *state["average"].values()]
    assert all(bool(tensor.isfinite().all()) for tensor in tensors)


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_full_disk_is_one_sentence_and_the_state_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    with pytest.raises(KeyboardInterrupt):
        train(Line(dies_at=15), SCHEDULE, seed=1, folder=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("state-*")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(InputError, match="cannot be written: the disk took only a part"):
            train(Line(), SCHEDULE, seed=1, folder=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("state-*")} == before
    resumed = Line()
    train(resumed, SCHEDULE, seed=1, folder=tmp_path)
    assert resumed.calls == 50
    assert [point["step"] for point in read_curve(tmp_path)] == [10, 20, 30, 40, 50, 60]


def test_accumulated_batches_make_one_step(tmp_path: Path) -> None:
    """Twice as many batches; the gradient of a step is the mean of theirs."""
    line = Line()
    train(line, replace(SCHEDULE, steps=40, accumulation=2), seed=1, folder=tmp_path)
    assert line.calls == 80
    first, second = Line(), Line()
    for number in (0, 1):
        (first(step_generator(1, number))["loss"] / 2).backward()
    schedule = replace(SCHEDULE, steps=1, warmup=1, accumulation=2, ema=0.0, optimizer="adamw")
    train(second, schedule, seed=1, folder=tmp_path / "one")
    torch.nn.utils.clip_grad_norm_(first.parameters(), 1.0)
    optimizer = torch.optim.AdamW(first.parameters(), 0.1, (0.9, 0.99), weight_decay=0.01)
    optimizer.step()
    torch.testing.assert_close(first.layer.weight, second.layer.weight)


def test_optimizers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW in 8 bits comes from bitsandbytes, where it is installed."""
    with pytest.raises(InputError, match="no optimizer sgd"):
        new_optimizer("sgd", Line(), 0.1, 0.0)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(InputError, match="needs the library bitsandbytes"):
        new_optimizer("adamw8bit", Line(), 0.1, 0.0)
    stand_in = SimpleNamespace(AdamW8bit=torch.optim.AdamW)
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(optim=stand_in))
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", stand_in)
    line = Line()
    train(line, replace(SCHEDULE, optimizer="adamw8bit"), seed=1, folder=tmp_path)
    assert line.layer.weight.item() == pytest.approx(3, abs=0.3)
