"""Training on a data set: killed at any moment, with workers, in several processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.dense_face.annotation.head_file import load_head
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.storage import write_weights
from comfyui_dense_face.training.data.batches import Batch, Batches
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.runs.loop import Schedule, train
from comfyui_dense_face.training.runs.processes import process_state
from comfyui_dense_face.training.runs.work_folder import locked, states
from comfyui_dense_face.training.watch.curve import CURVE
from ranks import run_ranks, started_ranks
from tiny_random import write_base
from torch import Tensor, nn

pytestmark = pytest.mark.skipif(os.name != "posix", reason="forks processes")
SCHEDULE = Schedule(steps=23, lr=0.01, warmup=5, save_every=5, precision="no")
SMOOTH = replace(SCHEDULE, optimizer="adamw")
"""Muon would amplify the last bits in which a sum of two processes differs."""
SIDE = 32


class Brightness(nn.Module):
    """Predicts the mean of an image from its blurred pixels, with noise; remembers the images."""

    def __init__(self, pause: float = 0.0, noise: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(48, 32), nn.Linear(32, 1))
        with torch.no_grad():
            for index, parameter in enumerate(self.parameters()):
                chance = torch.Generator().manual_seed(index)
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=chance))
        self.pause, self.noise = pause, noise
        self.keys: list[str] = []

    def forward(self, generator: torch.Generator, batch: Batch) -> dict[str, Tensor]:
        time.sleep(self.pause)
        self.keys += batch["key"]
        small = nn.functional.adaptive_avg_pool2d(batch["image"], 4).flatten(1)
        small = small + self.noise * torch.randn(small.shape, generator=generator)
        error = self.layers(small)[:, 0] - batch["image"].mean((1, 2, 3))
        return {"loss": error.square().mean()}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of four people, in shards."""
    out = tmp_path_factory.mktemp("data") / "faces"
    words = ["render", str(out), "--count", "7", "--per-person", "2", "--size", "32", "--seed", "3"]
    assert cli.main([*words, "--format", "webdataset"]) == 0
    return out


def _run(
    faces: Path,
    folder: Path,
    task: Brightness,
    *,
    workers: int = 0,
    size: int = 2,
    schedule: Schedule = SCHEDULE,
) -> dict[str, Tensor]:
    batches = Batches(FaceDataset(faces, SIDE, scheme="ibug"), size, 1, workers=workers)
    train(task, schedule, seed=1, folder=folder, batches=batches)
    return {name: tensor.clone() for name, tensor in task.state_dict().items()}


@pytest.fixture(scope="module")
def whole(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights of an uninterrupted run without workers."""
    return _run(faces, tmp_path_factory.mktemp("whole"), Brightness())


@pytest.mark.parametrize(
    ("workers", "kills"),
    [
        (2, 2),
        *(pytest.param(workers, 10, marks=pytest.mark.slow) for workers in (0, 2, 3)),
    ],
)
def test_killed_at_any_moment_it_gives_the_same_weights(
    workers: int, kills: int, faces: Path, whole: dict[str, Tensor], tmp_path: Path
) -> None:
    """Of a run that was never killed and read the images itself."""
    chance, context = random.Random(workers), multiprocessing.get_context("fork")
    for _ in range(kills):
        task = Brightness(pause=0.04)
        running = context.Process(
            target=_run, args=(faces, tmp_path, task), kwargs={"workers": workers}
        )
        running.start()
        before = len(states(tmp_path))
        while running.is_alive() and len(states(tmp_path)) == before == 0:
            time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.3))
        running.kill()
        running.join()
    assert states(tmp_path)
    resumed = _run(faces, tmp_path, Brightness(), workers=workers)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in whole.items())


def test_two_processes_read_different_images_and_agree(faces: Path, tmp_path: Path) -> None:
    """Without a folder that both see. Together they give what one gives with twice the images."""

    def work(rank: int) -> Any:
        task = Brightness(noise=0.0)
        return _run(faces, tmp_path / f"machine{rank}" / "work", task, schedule=SMOOTH), task.keys

    (first, keys), (second, others) = run_ranks(work)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (tmp_path / "machine1").exists()
    one = Brightness(noise=0.0)
    alone = _run(faces, tmp_path / "alone", one, size=4, schedule=SMOOTH)
    for step in range(SCHEDULE.steps):
        both = keys[2 * step : 2 * step + 2] + others[2 * step : 2 * step + 2]
        assert both == one.keys[4 * step : 4 * step + 4]
    for name, tensor in alone.items():
        torch.testing.assert_close(first[name], tensor, atol=1e-5, rtol=1e-4)


class OfOneProcess(Brightness):
    """Some weights get gradients in the first process alone, as where inputs are dropped."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rare, self.rank = nn.Linear(1, 1), rank
        nn.init.ones_(self.rare.weight)

    def forward(self, generator: torch.Generator, batch: Batch) -> dict[str, Tensor]:
        loss = super().forward(generator, batch)["loss"]
        return {"loss": loss if self.rank else self.rare(loss[None])[0]}


def test_weights_that_one_process_does_not_use(faces: Path, tmp_path: Path) -> None:
    def work(rank: int) -> Any:
        return _run(faces, tmp_path / f"{rank}", OfOneProcess(rank), schedule=SMOOTH)

    first, second = run_ranks(work)
    assert all(torch.equal(second[name], tensor) for name, tensor in first.items())
    assert float(first["rare.weight"]) != 1.0


def test_two_processes_resume_where_they_were(faces: Path, tmp_path: Path) -> None:
    """The second has no work folder: it gets the state from the first."""

    def work(rank: int, folder: str, dies: bool) -> Any:
        task = Brightness()
        if dies:
            seen = task.forward

            def dying(generator: torch.Generator, batch: Batch) -> dict[str, Tensor]:
                if len(task.keys) == 24:
                    raise RuntimeError("killed")
                return seen(generator, batch)

            task.forward = dying
        return _run(faces, tmp_path / f"{folder}{rank}", task)

    uninterrupted = run_ranks(lambda rank: work(rank, "a", False))
    killed = run_ranks(lambda rank: work(rank, "b", True))
    assert all("killed" in str(error) for error in killed)
    resumed = run_ranks(lambda rank: work(rank, "b", False))
    for rank in (0, 1):
        for name, tensor in uninterrupted[0].items():
            assert torch.equal(resumed[rank][name], tensor)


@pytest.fixture(scope="module")
def whole_of_two(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights of an uninterrupted run of two processes."""
    folder = tmp_path_factory.mktemp("two")
    return run_ranks(lambda rank: _run(faces, folder, Brightness()))[0]


@pytest.mark.parametrize(
    ("workers", "kills"),
    [(0, 2), *(pytest.param(workers, 10, marks=pytest.mark.slow) for workers in (0, 2))],
)
def test_two_processes_killed_at_any_moment(
    workers: int, kills: int, faces: Path, whole_of_two: dict[str, Tensor], tmp_path: Path
) -> None:
    """One of them, and shortly after the other: the weights of the uninterrupted run of two."""
    chance = random.Random(workers)

    def work(rank: int) -> Any:
        return _run(faces, tmp_path, Brightness(pause=0.04), workers=workers)

    for _ in range(kills):
        before = len(states(tmp_path))
        with started_ranks(work) as (running, _results):
            while all(p.is_alive() for p in running) and len(states(tmp_path)) == before == 0:
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.3))
            chance.choice(running).kill()
            time.sleep(chance.uniform(0.0, 0.1))
    assert states(tmp_path)
    for weights in run_ranks(lambda rank: _run(faces, tmp_path, Brightness(), workers=workers)):
        assert all(torch.equal(weights[name], tensor) for name, tensor in whole_of_two.items())


def _curve(folder: Path) -> list[float]:
    lines = (folder / CURVE).read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 1e-5), (0.01, 0.08)])
def test_two_processes_have_the_curve_of_one(
    noise: float, tolerance: float, faces: Path, tmp_path: Path
) -> None:
    """With as many images in a step; but for the noise, which each process draws for itself.

    The tolerance is a fraction of the loss at the start.
    """
    schedule = replace(SMOOTH, steps=24, save_every=4, log_every=4)
    _run(faces, tmp_path / "one", Brightness(noise=noise), size=4, schedule=schedule)
    run_ranks(
        lambda rank: _run(faces, tmp_path / "two", Brightness(noise=noise), schedule=schedule)
    )
    one, two = _curve(tmp_path / "one"), _curve(tmp_path / "two")
    assert len(one) == len(two) == 6 and one[-1] < 0.8 * one[0]
    assert two == pytest.approx(one, abs=tolerance * one[0])


def test_several_processes_that_accelerate_did_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without GPUs it starts one of two, which would train on half of the images in a step."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    process_state()
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(InputError, match="was to start several processes and started one"):
        process_state()
    write_weights(tmp_path / "base", {}, {})
    (tmp_path / "faces.csv").write_text("face_file,subject_id\n")
    words = ["--dataset", str(tmp_path), "--base", str(tmp_path / "base"), "--out", "x.safetensors"]
    assert cli.main(["train", "annotations", *words]) == cli.EXIT_USER_ERROR
    assert "torchrun --nproc-per-node" in capsys.readouterr().err


@pytest.mark.slow
def test_accelerate_launch_on_cpus_says_so(tmp_path: Path) -> None:
    write_weights(tmp_path / "base", {}, {})
    (tmp_path / "faces.csv").write_text("face_file,subject_id\n")
    words = ["--dataset", str(tmp_path), "--base", str(tmp_path / "base"), "--out", "x.safetensors"]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    command = ["-m", "comfyui_dense_face.cli", "train", "annotations", *words]
    done = subprocess.run([*launch, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode != 0
    assert "accelerate launch was to start several processes and started one" in done.stderr


def test_every_process_hears_what_stops_the_first(faces: Path, tmp_path: Path) -> None:
    """A folder in use, a data set that differs, another number of images per step."""

    def work(rank: int) -> Any:
        return _run(faces, tmp_path / "work", Brightness())

    with locked(tmp_path / "work"):
        found = run_ranks(work)
    assert all(isinstance(e, InputError) and "another run is training" in str(e) for e in found)
    _run(faces, tmp_path / "work", Brightness())
    found = run_ranks(work)
    assert all("images per step 4 instead of 2" in str(error) for error in found)
    other = tmp_path / "other"
    words = ["render", str(other), "--count", "4", "--size", "32", "--seed", "5"]
    assert cli.main(words) == 0
    found = run_ranks(lambda rank: _run((faces, other)[rank], tmp_path / "new", Brightness()))
    assert all("differs between the processes" in str(error) for error in found)


def test_the_number_of_processes_may_change(faces: Path, tmp_path: Path) -> None:
    """Where the images per step stay the same, a run of two goes on in one."""
    task = Brightness(noise=0.0)
    whole = _run(faces, tmp_path / "whole", task, size=4, schedule=SMOOTH)

    def work(rank: int) -> Any:
        return _run(faces, tmp_path / "work", Brightness(noise=0.0), size=2, schedule=SMOOTH)

    run_ranks(work)
    states(tmp_path / "work")[0][1].unlink()  # back to step 20
    resumed = Brightness(noise=0.0)
    weights = _run(faces, tmp_path / "work", resumed, size=4, schedule=SMOOTH)
    assert resumed.keys == task.keys[80:]
    for name, tensor in whole.items():
        torch.testing.assert_close(weights[name], tensor, atol=1e-5, rtol=1e-4)


def test_the_images_of_the_process_with_the_spoilt_loss_are_named(
    faces: Path, tmp_path: Path
) -> None:
    """In all processes; those of the others are not suspected."""

    def work(rank: int) -> Any:
        task = Brightness()
        seen = task.forward

        def spoilt(generator: torch.Generator, batch: Batch) -> dict[str, Tensor]:
            loss = seen(generator, batch)["loss"]
            return {"loss": loss * float("nan") if rank and len(task.keys) == 6 else loss}

        task.forward = spoilt
        try:
            return _run(faces, tmp_path / "work", task)
        except InputError as error:
            return str(error), task.keys[-2:]

    (first, own), (second, bad) = run_ranks(work)
    assert first == second and "the loss of step 3 is nan" in first
    assert f"its batch: {', '.join(bad)}; last good state" in first
    assert not set(own) & set(bad)


@pytest.mark.slow
def test_the_command_in_two_processes_killed_and_resumed(tmp_path: Path) -> None:
    """Under torchrun, killed at random moments: the head of an uninterrupted run."""
    base = write_base(tmp_path / "base.safetensors")
    words = ["render", str(tmp_path / "faces"), "--count", "7", "--per-person", "2"]
    assert cli.main([*words, "--size", "64", "--seed", "3"]) == 0
    train_words = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--standalone", "-m", "comfyui_dense_face.cli", "train", "annotations", "--dataset",
        str(tmp_path / "faces"), "--base", str(base), "--steps", "23", "--batch", "2",
        "--workers", "1", "--save-every", "5", "--precision", "no", "--size", "64",
        "--width", "32", "--scale", "4", "--scheme", "ibug",
    ]  # fmt: skip

    @contextmanager
    def started(name: str) -> Iterator[subprocess.Popen[bytes]]:
        out = ["--out", str(tmp_path / f"{name}.safetensors")]
        running = subprocess.Popen([*train_words, *out, "--folder", str(tmp_path / f"work-{name}")])
        try:
            yield running
        finally:
            # torchrun's processes are in sessions of their own.
            with suppress(psutil.NoSuchProcess):
                started = psutil.Process(running.pid)
                for each in [started, *started.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        each.kill()
            running.wait(30)

    with started("whole") as running:
        assert running.wait(300) == 0
    chance = random.Random(4)
    for _ in range(3):
        with started("killed") as running:
            while running.poll() is None and not states(tmp_path / "work-killed"):
                time.sleep(0.05)
            time.sleep(chance.uniform(0.0, 8.0))
        time.sleep(1.0)  # until its processes have released the folder
    with started("killed") as running:
        assert running.wait(300) == 0
    uninterrupted, _ = load_head(tmp_path / "whole.safetensors")
    killed, _ = load_head(tmp_path / "killed.safetensors")
    for name, tensor in uninterrupted.state_dict().items():
        assert torch.equal(killed.state_dict()[name], tensor), name
