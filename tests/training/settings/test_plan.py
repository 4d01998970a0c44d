"""The plan of a training step, against the same step run for real."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.training.runs.memory import DTYPES
from comfyui_dense_face.training.runs.optimizer import new_optimizer
from comfyui_dense_face.training.settings import plans
from comfyui_dense_face.training.settings.config import (
    AnnotationsConfig,
    DenseFaceConfig,
    SFSRConfig,
    TrainerConfig,
)
from comfyui_dense_face.training.settings.plans import loss_costs, plan_of
from tiny_random import write_base
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

KINDS: dict[str, tuple[type[TrainerConfig], dict[str, Any]]] = {
    "sfsr": (SFSRConfig, {"encoder": "a", "size": 128}),
    "sfsr, checkpointed": (
        SFSRConfig, {"encoder": "a", "size": 128, "gradient_checkpointing": True}
    ),
    "sfsr, identity loss": (SFSRConfig, {"ir_se50": Path("x")}),
    "sfsr, cached": (SFSRConfig, {"encoder": "a", "size": 128, "cache": Path("x")}),
    "sfsr, identity loss, cached": (SFSRConfig, {"ir_se50": Path("x"), "cache": Path("x")}),
    "dense-face, cached": (DenseFaceConfig, {"encoder": "a", "batch": 2, "cache": Path("x")}),
    "annotations, cached": (
        AnnotationsConfig, {"size": 128, "width": 32, "scale": 4, "batch": 2, "cache": Path("x")}
    ),
    "dense-face": (DenseFaceConfig, {"encoder": "a", "batch": 2}),
    "dense-face, float32": (DenseFaceConfig, {"encoder": "a", "batch": 2, "precision": "no"}),
    "annotations": (AnnotationsConfig, {"size": 128, "width": 32, "scale": 4, "batch": 2}),
}  # fmt: skip
_QUICK = "annotations"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base") / "base.safetensors")


def _config(name: str, base: Path, **more: Any) -> TrainerConfig:
    kind, given = KINDS[name]
    common = {"size": 64, "batch": 2, "scheme": "ibug", "dataset": base, "out": base}
    return kind(**{**common, "base": base, **given, **more})


def _run(config: TrainerConfig) -> tuple[int, int]:
    """Peak bytes by the profiler, and operations, of a step with random images.

    In two steps: torch's counter of operations keeps tensors beyond their use.
    """
    torch.manual_seed(0)
    task, batch = plans._built(config)
    trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
    held = {t.untyped_storage().data_ptr(): t.nbytes for t in task.state_dict().values()}
    counter, dtype = FlopCounterMode(display=False), DTYPES[config.precision]

    def compute() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            losses = task(torch.Generator().manual_seed(1), batch)
        losses["loss"].backward()

    task.train()
    with counter:
        compute()
    task.zero_grad()
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        average = [parameter.detach().clone() for parameter in trained]
        optimizer = new_optimizer(config.optimizer, task, 1e-3, 0.01)
        compute()
        optimizer.step()
        del average
    results: Any = profiler.profiler.kineto_results  # type: ignore[union-attr]
    events = [event for event in results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return sum(held.values()) + peak, counter.get_total_flops()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != _QUICK)) for n in KINDS]
)
def test_the_plan_is_what_a_step_needs(name: str, base: Path) -> None:
    """Within 5 %; the operations exactly."""
    config = _config(name, base)
    plan = plan_of(config)
    peak, operations = _run(config)
    assert plan.peak == pytest.approx(peak, rel=0.05)
    assert plan.operations == pytest.approx(operations, rel=1e-6)


@pytest.mark.slow
def test_savings_are_in_the_plan(base: Path) -> None:
    usual = plan_of(_config("dense-face", base))
    adamw = plan_of(_config("dense-face", base, optimizer="adamw"))
    accumulated = plan_of(_config("dense-face", base, accumulation=4))
    assert adamw.state > usual.state and adamw.weights == usual.weights
    assert accumulated.operations == 4 * usual.operations and accumulated.peak >= usual.peak


def test_the_command_prints_it(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a data set, and without training."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "annotations", "--plan", "--dataset", "none", "--base", str(base)]
    words += ["--out", "none", "--size", "64", "--width", "32", "--batch", "3"]
    assert cli.main(words) == 0
    found = capsys.readouterr().out
    assert found.startswith("a step of 3 images of 64 px in one process, bf16:\n")
    assert "TFLOP" in found and "peak" in found and not list(tmp_path.iterdir())
    assert cli.main([*words, "--base", "gone"]) == 2
    assert "--base gone" in capsys.readouterr().err


def test_a_file_to_start_from_is_not_read(base: Path) -> None:
    """It has no values in a plan, and need not be there."""
    given = _given(base, encoder="a")
    plans = [plan_of(DenseFaceConfig(**given, **more)) for more in ({}, {"start": Path("gone")})]
    assert plans[0] == plans[1]


@pytest.mark.slow
def test_each_loss_has_its_cost(base: Path) -> None:
    """A rollout costs more passes of the UNet, and a loss left out nothing."""
    given = {"ir_se50": Path("x"), "rollout": True}
    both = loss_costs(SFSRConfig(**_given(base, **given)))
    assert [line.split("  ")[0] for line in both[1:]] == [
        "noise prediction", "identity, by midpoint", "from a rollout",
    ]  # fmt: skip
    assert all(float(line.split()[-4]) > 0 for line in both[1:])
    alone = loss_costs(SFSRConfig(**_given(base, **given, noise_loss=False)))
    assert len(alone) == 3


def _given(base: Path, **more: Any) -> dict[str, Any]:
    common = {"size": 64, "batch": 2, "scheme": "ibug", "dataset": base, "out": base}
    return {**common, "base": base, **more}
