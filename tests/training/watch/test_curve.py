"""The curve of a run: complete, without doubles, the same wherever it was interrupted."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.training.runs.loop import Schedule, step_generator, train
from comfyui_dense_face.training.watch import chart, monitor
from comfyui_dense_face.training.watch.curve import append_point, cut_curve, read_curve
from PIL import Image
from ranks import run_ranks
from torch import Tensor, nn

SCHEDULE = Schedule(
    steps=23, lr=0.1, warmup=5, save_every=7, log_every=5, precision="no", optimizer="adamw"
)
CLOCK = ("seconds", "samples_per_second")


class Plane(nn.Module):
    """Fits y = 2 x from noisy points, in which processes differ; has a second loss."""

    def __init__(self, dies_at: int = -1, rank: int = 0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))
        self.dies_at, self.calls, self.rank = dies_at, 0, rank
        self.losses: list[float] = []

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        if self.calls == self.dies_at:
            raise KeyboardInterrupt
        self.calls += 1
        x = 1 + torch.rand(8, generator=generator)
        error = (self.slope * x - 2 * x).square().mean()
        self.losses.append(error.item())
        return {"loss": error, "distance": error.detach().sqrt() + self.rank}


def _timeless(folder: Path) -> list[dict[str, Any]]:
    return [{n: v for n, v in p.items() if n not in CLOCK} for p in read_curve(folder)]


def test_a_line_is_the_mean_of_its_steps(tmp_path: Path) -> None:
    plane = Plane()
    train(plane, SCHEDULE, seed=1, folder=tmp_path)
    curve = read_curve(tmp_path)
    assert [point["step"] for point in curve] == [5, 10, 15, 20, 23]
    for point, start in zip(curve, range(0, 25, 5), strict=True):
        some = plane.losses[start : point["step"]]
        assert point["loss"] == pytest.approx(sum(some) / len(some), rel=1e-6)
        assert point["lr"] == SCHEDULE.rate(point["step"] - 1)
        assert point["grad_norm"] > 0 and point["seconds"] >= 0
        assert set(point) == {"step", "seconds", "loss", "distance", "lr", "grad_norm"}
    x = 1 + torch.rand(8, generator=step_generator(1, 0))
    first = train(Plane(), replace(SCHEDULE, log_every=1), seed=1, folder=tmp_path / "each")
    assert first >= 0
    norm = read_curve(tmp_path / "each")[0]["grad_norm"]
    assert norm == pytest.approx(float((4 * x * x).mean()), rel=1e-5)


@pytest.mark.parametrize("dies_at", [3, 7, 13, 19, 22])
def test_a_resumed_curve_is_that_of_an_uninterrupted_run(dies_at: int, tmp_path: Path) -> None:
    """Also where a line's steps are on both sides of the state that it resumes from."""
    train(Plane(), SCHEDULE, seed=1, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(Plane(dies_at), SCHEDULE, seed=1, folder=tmp_path / "killed")
    with (tmp_path / "killed" / "curve.jsonl").open("a") as stream:
        stream.write('{"step": 2')  # half a line
    train(Plane(), SCHEDULE, seed=1, folder=tmp_path / "killed")
    assert _timeless(tmp_path / "killed") == _timeless(tmp_path / "whole")
    train(Plane(), SCHEDULE, seed=1, folder=tmp_path / "killed")  # a finished run adds nothing
    assert _timeless(tmp_path / "killed") == _timeless(tmp_path / "whole")


def test_several_processes_write_their_mean(tmp_path: Path) -> None:
    def work(rank: int) -> list[float]:
        plane = Plane(rank=rank)
        train(plane, SCHEDULE, seed=1, folder=tmp_path / str(rank))
        return plane.losses

    first, second = run_ranks(work)
    curve = read_curve(tmp_path / "0")
    assert not (tmp_path / "1").exists()
    mean = sum(first[:5] + second[:5]) / 10
    assert curve[0]["loss"] == pytest.approx(mean, rel=1e-5) and first[:5] != second[:5]
    roots = [loss**0.5 for loss in first[:5]] + [1 + loss**0.5 for loss in second[:5]]
    assert curve[0]["distance"] == pytest.approx(sum(roots) / 10, rel=1e-5)


def test_numbers_that_are_none_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        append_point(tmp_path, {"step": 1, "loss": float("nan")})
    for step in (1, 2, 3):
        append_point(tmp_path, {"step": step, "grad_norm": None})
    cut_curve(tmp_path, 2)
    assert read_curve(tmp_path) == [{"step": s, "grad_norm": None} for s in (1, 2)]
    assert read_curve(tmp_path / "nowhere") == []


def test_the_chart_is_drawn_at_every_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, charts: None
) -> None:
    drawn: list[tuple[list[int], str]] = []

    def drawing(points: list[dict[str, Any]], path: Path, title: str) -> None:
        drawn.append(([point["step"] for point in points], title))
        if len(drawn) == 4:
            chart.draw_curves(points, path, title)

    monkeypatch.setattr(monitor, "draw_curves", drawing)
    train(Plane(), SCHEDULE, seed=1, folder=tmp_path / "run")
    assert [steps[-1] for steps, _ in drawn] == [5, 10, 20, 23] and drawn[0][1] == "run"
    with Image.open(tmp_path / "run" / "curve.png") as image:
        assert image.width > 500 and len(image.convert("RGB").getcolors(10**6) or ()) > 5
    train(Plane(), SCHEDULE, seed=2, folder=tmp_path / "run", fresh=True)
    assert len(read_curve(tmp_path / "run")) == 5


def test_panes_of_the_chart() -> None:
    """A pane for each loss, with its held-out one, and for each other number that there is."""
    points = [
        {"step": 0, "seconds": 0.0, "held_out_loss": 3.0},
        {"step": 5, "seconds": 1.0, "loss": 2.0, "mse": 1.0, "lr": 0.1, "grad_norm": None},
        {"step": 9, "seconds": 2.0, "loss": 1.0, "mse": 0.5, "lr": 0.2, "held_out_loss": 2.0},
    ]
    assert chart._panes(points) == {
        "loss": {"loss": ([5, 9], [2.0, 1.0]), "held_out_loss": ([0, 9], [3.0, 2.0])},
        "mse": {"mse": ([5, 9], [1.0, 0.5])},
        "learning rate": {"lr": ([5, 9], [0.1, 0.2])},
    }


def test_without_matplotlib_there_is_a_sentence_and_no_chart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, charts: None
) -> None:
    monkeypatch.setattr(chart, "find_spec", lambda name: None)
    train(Plane(), SCHEDULE, seed=1, folder=tmp_path)
    assert "curve.png is not drawn: pip install matplotlib" in caplog.text
    assert not (tmp_path / "curve.png").exists()


class Writer:
    """Stands in for that of tensorboard."""

    made: list[Writer]

    def __init__(self, folder: str, purge_step: int) -> None:
        self.folder, self.purge_step, self.closed = folder, purge_step, False
        self.numbers: list[tuple[str, float, int]] = []
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.numbers.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where asked for; a resumed run hides what was written after its state."""
    asked = replace(SCHEDULE, tensorboard=True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"need the library tensorboard .*pip install"):
        train(Plane(), asked, seed=1, folder=tmp_path)
    train(Plane(), replace(SCHEDULE, steps=2), seed=1, folder=tmp_path / "without")
    stand_in: Any = ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter, Writer.made = Writer, []
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    with pytest.raises(KeyboardInterrupt):
        train(Plane(dies_at=16), asked, seed=1, folder=tmp_path)
    train(Plane(), asked, seed=1, folder=tmp_path)
    first, second = Writer.made
    assert (first.purge_step, second.purge_step) == (1, 15) and first.closed and second.closed
    assert first.folder == str(tmp_path / "tensorboard")
    lines = [*first.numbers[:8], *second.numbers]
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert lines == [
        (name, value, point["step"])
        for point in curve
        for name, value in point.items()
        if name not in ("step", "seconds")
    ]
