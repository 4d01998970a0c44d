"""What a run of the loop holds beside the frozen base: nothing that the plan does not count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.training.data.batches import Batch
from comfyui_dense_face.training.runs.loop import train
from comfyui_dense_face.training.settings import plan, plans
from comfyui_dense_face.training.settings.config import DenseFaceConfig
from tiny_random import write_base
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode


class OneBatch(nn.Module):
    """A task that is given the same batch in every step."""

    def __init__(self, task: nn.Module, batch: Batch) -> None:
        super().__init__()
        self.task, self.batch = task, batch

    def forward(self, generator: torch.Generator) -> dict[str, Tensor]:
        return self.task(generator, self.batch)


class Casts(TorchDispatchMode):
    """Bytes of the copies in another dtype that are made of some tensors."""

    def __init__(self, tensors: list[Tensor]) -> None:
        super().__init__()
        self.watched = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        self.made = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        cast = func is torch.ops.aten._to_copy.default and found.dtype != args[0].dtype
        if cast and args[0].untyped_storage().data_ptr() in self.watched:
            self.made += found.nbytes
        return found


@pytest.fixture
def config(tmp_path: Path) -> DenseFaceConfig:
    base = write_base(tmp_path / "base.safetensors")
    return DenseFaceConfig(
        dataset=base, base=base, out=base, folder=tmp_path / "run", encoder="a", size=64, batch=1,
        scheme="ibug", steps=2,
    )  # fmt: skip


def test_frozen_weights_are_never_copied(config: DenseFaceConfig) -> None:
    """In steps of the loop: cast once beforehand, and in no state."""
    task, batch = plans._built(config)
    frozen = [p for p in task.parameters() if not p.requires_grad]
    trained = {name: p for name, p in task.named_parameters() if p.requires_grad}
    learns = sum(p.nbytes for p in trained.values())
    halves = {p.dtype for p in frozen if p.ndim == 4}
    assert halves == {torch.bfloat16} and sum(p.nbytes for p in frozen) > 10e6
    with plan._Counter() as counter, Casts(frozen) as casts:
        given = [tensor for tensor in batch.values() if isinstance(tensor, Tensor)]
        for tensor in [*task.state_dict().values(), *given]:
            counter._add(tensor.untyped_storage())
        train(OneBatch(task, batch), config.schedule, seed=1, folder=config.folder)
    assert casts.made == 0
    assert counter.peak == pytest.approx(plans.plan_of(config).peak, rel=0.05)
    state = torch.load(next(config.folder.glob("state-*.pt")), weights_only=True)
    assert {name.removeprefix("task.") for name in state["average"]} == trained.keys()
    saved = [t for part in ("task", "average") for t in state[part].values()]
    assert sum(tensor.nbytes for tensor in saved) < 2.1 * learns
