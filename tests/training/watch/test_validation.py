"""Validation changes nothing of a training, and compares what can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.training.data.batches import Batch, Batches
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.data.held_out import split
from comfyui_dense_face.training.runs.loop import Schedule, train
from comfyui_dense_face.training.watch import validation as module
from comfyui_dense_face.training.watch.curve import read_curve
from comfyui_dense_face.training.watch.validation import Validation
from PIL import Image
from ranks import run_ranks
from torch import Tensor, nn

SCHEDULE = Schedule(steps=11, lr=0.01, warmup=3, save_every=4, log_every=5, precision="no")


class Brightness(nn.Module):
    """Predicts the mean of an image from its blurred pixels, with noise and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(48)
        self.layers = nn.Sequential(nn.Linear(48, 32), nn.Dropout(0.0), nn.Linear(32, 1))
        with torch.no_grad():
            for index, parameter in enumerate(self.layers.parameters()):
                chance = torch.Generator().manual_seed(index)
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=chance))
        self.seen: list[tuple[bool, bool, list[str]]] = []
        self.dies_at = -1

    def forward(self, generator: torch.Generator, batch: Batch) -> dict[str, Tensor]:
        self.seen.append((self.training, torch.is_grad_enabled(), batch["key"]))
        if sum(training for training, *_ in self.seen) == self.dies_at:
            raise KeyboardInterrupt
        small = nn.functional.adaptive_avg_pool2d(batch["image"], 4).flatten(1)
        small = self.norm(small + 0.1 * torch.randn(small.shape, generator=generator))
        error = self.layers(small)[:, 0] - batch["image"].mean((1, 2, 3))
        return {"loss": error.square().mean(), "absolute": error.abs().mean().detach()}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images of four people."""
    out = tmp_path_factory.mktemp("data") / "faces"
    words = ["render", str(out), "--count", "8", "--per-person", "2", "--size", "32", "--seed", "3"]
    assert cli.main(words) == 0
    return out


@pytest.fixture(autouse=True)
def _few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCHES", 3)


def _batches(faces: Path, held_out: bool) -> Batches:
    return Batches(split(FaceDataset(faces, 32, scheme="ibug"), 1)[held_out], 2, 1)


def _validation(faces: Path, **more: Any) -> Validation:
    given = {"people": 1, "every": 4, "check_after": 7}
    return Validation(_batches(faces, True), **{**given, **more})


def _run(faces: Path, folder: Path, task: nn.Module, **more: Any) -> dict[str, Tensor]:
    given: dict[str, Any] = {"schedule": SCHEDULE, "validation": None}
    given = {**given, **more}
    settings = {"people held out": 1} if given["validation"] is None else {}
    train(
        task, given["schedule"], seed=1, folder=folder, batches=_batches(faces, False),
        validation=given["validation"], settings=settings,
    )  # fmt: skip
    return {name: tensor.clone() for name, tensor in task.state_dict().items()}


def test_weights_are_those_of_a_run_without_validation(faces: Path, tmp_path: Path) -> None:
    """Batch norms and the global generator, too; and so is every state on the way."""
    torch.manual_seed(5)
    without = _run(faces, tmp_path / "without", Brightness())
    drawn = torch.rand(3)
    torch.manual_seed(5)
    sheet = Image.new("RGB", (8, 8))

    def draw() -> Image.Image:
        torch.rand(7)
        return sheet

    found = _run(faces, tmp_path / "with", Brightness(), validation=_validation(faces, draw=draw))
    assert torch.equal(torch.rand(3), drawn)
    assert all(torch.equal(found[name], tensor) for name, tensor in without.items())
    for step in (8, 11):
        one, other = (
            torch.load(tmp_path / name / f"state-{step:08d}.pt", weights_only=True)
            for name in ("without", "with")
        )
        for part in ("task", "average"):
            for name, tensor in one[part].items():
                assert torch.equal(other[part][name], tensor), name


def test_held_out_people_are_never_trained_on(faces: Path, tmp_path: Path) -> None:
    """They are evaluated without gradients, at the same steps of every run."""
    task = Brightness()
    _run(faces, tmp_path, task, validation=_validation(faces))
    trained = {key for training, _, keys in task.seen if training for key in keys}
    evaluated = {key for training, _, keys in task.seen if not training for key in keys}
    assert len(evaluated) == 2 and len(trained) == 6 and not trained & evaluated
    assert all(training == gradients for training, gradients, _ in task.seen)
    curve = read_curve(tmp_path)
    held_out = [point["step"] for point in curve if "held_out_loss" in point]
    assert held_out == [0, 4, 8, 11]
    assert [point["step"] for point in curve if "loss" in point] == [5, 10, 11]
    assert curve[-1]["held_out_absolute"] > 0
    assert curve[0].keys() == {"step", "seconds", "held_out_loss", "held_out_absolute"}


def test_losses_are_those_of_the_average_under_the_same_noise(faces: Path, tmp_path: Path) -> None:
    """The last ones are those of the result; a rate of nearly nothing gives the same every time."""
    task = Brightness()
    _run(faces, tmp_path / "run", task, validation=_validation(faces))
    with torch.no_grad():
        again = module.batch_losses(task, _batches(faces, True))
    mean = sum(each["loss"] for each in again) / 3
    assert read_curve(tmp_path / "run")[-1]["held_out_loss"] == mean
    assert len({each["loss"] for each in again}) == 3

    class Still(Brightness):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(48, momentum=0.0)

    still = replace(SCHEDULE, lr=1e-12, weight_decay=0.0)
    _run(faces, tmp_path / "still", Still(), schedule=still, validation=_validation(faces))
    losses = {p["held_out_loss"] for p in read_curve(tmp_path / "still") if "held_out_loss" in p}
    assert max(losses) == pytest.approx(min(losses), rel=1e-6)


def test_a_resumed_run_validates_like_an_uninterrupted_one(
    faces: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also the check, whose losses of the start are in the state."""
    caplog.set_level("INFO")
    whole = _run(faces, tmp_path / "whole", Brightness(), validation=_validation(faces))
    (said,) = [r.message for r in caplog.records if "learn" in r.message]
    caplog.clear()
    task = Brightness()
    task.dies_at = 6
    with pytest.raises(KeyboardInterrupt):
        _run(faces, tmp_path / "killed", task, validation=_validation(faces))
    assert not task.training or task.layers[0].weight.requires_grad
    resumed = _run(faces, tmp_path / "killed", Brightness(), validation=_validation(faces))
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())
    assert [r.message for r in caplog.records if "learn" in r.message] == [said]
    timeless = [
        [{n: v for n, v in p.items() if "second" not in n} for p in read_curve(tmp_path / name)]
        for name in ("whole", "killed")
    ]
    assert timeless[0] == timeless[1]


def test_other_people_held_out_are_another_run(faces: Path, tmp_path: Path) -> None:
    _run(faces, tmp_path, Brightness(), validation=_validation(faces))
    with pytest.raises(InputError, match="people held out 2 instead of 1"):
        _run(faces, tmp_path, Brightness(), validation=_validation(faces, people=2))
    _run(faces, tmp_path, Brightness(), validation=_validation(faces, every=3, check_after=0))


@pytest.mark.parametrize(
    ("rate", "message"), [(0.01, "it learns: "), (1e-12, "does not learn yet: ")]
)
def test_it_says_whether_it_learns(
    rate: float, message: str, faces: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where nobody is held out, by the images that are trained on."""
    caplog.set_level("INFO")
    nobody = replace(_validation(faces), batches=_batches(faces, False), people=0)
    _run(faces, tmp_path, Brightness(), schedule=replace(SCHEDULE, lr=rate, weight_decay=0.0),
         validation=nobody)  # fmt: skip
    (record,) = [each for each in caplog.records if "learn" in each.message]
    assert message in record.message and "loss of the training images" in record.message
    assert (record.levelname == "WARNING") == ("not" in message)
    assert all("held_out_loss" not in point for point in read_curve(tmp_path))


def test_images_are_kept_by_step_and_those_of_lost_steps_removed(
    faces: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = Brightness()
    shades: list[int] = []

    def draw() -> Image.Image:
        shades.append(len(shades))
        if len(shades) == 2:
            raise InputError("nobody can be drawn")
        return Image.new("RGB", (4, 4), (shades[-1],) * 3)

    task.dies_at = 10
    rarely = replace(SCHEDULE, save_every=6)
    with pytest.raises(KeyboardInterrupt):
        _run(faces, tmp_path, task, schedule=rarely, validation=_validation(faces, draw=draw))
    assert "no validation images: nobody can be drawn" in caplog.text
    folder = tmp_path / "validation"
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000000.png", "step-00000008.png"]
    with pytest.raises(KeyboardInterrupt):
        task = Brightness()
        task.dies_at = 1
        _run(faces, tmp_path, task, schedule=rarely, validation=_validation(faces, draw=draw))
    assert [path.name for path in folder.iterdir()] == ["step-00000000.png"]
    _run(faces, tmp_path, Brightness(), schedule=rarely, validation=_validation(faces, draw=draw))
    names = ["step-00000000.png", "step-00000008.png", "step-00000011.png"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_the_first_process_validates(faces: Path, tmp_path: Path) -> None:
    """The others wait, and hear of its errors."""

    def work(rank: int, name: str, damaged: bool) -> Any:
        task = Brightness()
        batches = _batches(faces, True)
        if damaged:
            batches.data.entries.clear()
        validation = replace(_validation(faces), batches=batches)
        found = _run(faces, tmp_path / f"{name}{rank}", task, validation=validation)
        return found, sum(not training for training, *_ in task.seen)

    (first, evaluated), (second, none) = run_ranks(lambda rank: work(rank, "a", False))
    assert evaluated == 5 * 3 and none == 0
    for name, tensor in first.items():
        if "norm.running" not in name:
            assert torch.equal(second[name], tensor), name
    errors = run_ranks(lambda rank: work(rank, "b", True))
    assert all(isinstance(e, InputError) and "has no images" in str(e) for e in errors)


def test_the_averaged_weights_go_back_after_an_error() -> None:
    task = nn.Linear(2, 1)
    trained = dict(task.named_parameters())
    average = {name: torch.ones_like(p) for name, p in trained.items()}
    pointers = {n: (p.data_ptr(), average[n].data_ptr()) for n, p in trained.items()}

    @contextmanager
    def failing() -> Iterator[None]:
        with module.averaged_weights(task, trained, average):
            assert bool((task.weight == 1).all()) and not task.training
            raise RuntimeError("stopped")
            yield

    with pytest.raises(RuntimeError, match="stopped"), failing():
        pass
    assert {n: (p.data_ptr(), average[n].data_ptr()) for n, p in trained.items()} == pointers
    assert task.training
