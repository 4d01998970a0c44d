"""What a training step needs, counted without running it: bytes and floating point operations.

One step runs on fake tensors, which have shapes and no values: forward and backward pass,
optimizer and weight average. Every storage counts from its creation to its end, so that the peak
is that of the step. What kernels use inside themselves, and what an allocator keeps, comes on top.
Mixed precision is that of CPUs; GPUs keep a few more tensors in float32.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ..data.batches import Batch
from ..runs.loop import Schedule
from ..runs.memory import autocast
from ..runs.optimizer import new_optimizer

_AGAIN = 2
"""Batches of an accumulated step that are run: from the second on, gradients are there already."""


@dataclass(frozen=True)
class Plan:
    """Bytes and operations of one step of one process.

    weights: Bytes of all networks. trained: Parameters that are trained, a number.
    state: Bytes of optimizer and weight average. peak: Most bytes at any time, all included.
    operations: Floating point operations of all batches of the step, without the optimizer's.
    """

    weights: int
    trained: int
    state: int
    peak: int
    operations: int

    def lines(self) -> list[str]:
        """The plan in words."""
        passing = self.peak - self.weights - self.state
        return [
            f"weights                  {_giga(self.weights)}",
            f"optimizer and average    {_giga(self.state)}, for {self.trained:,} trained weights",
            f"gradients and the rest   {_giga(passing)}",
            f"peak                     {_giga(self.peak)}",
            f"operations per step      {self.operations / 1e12:8.3g} TFLOP",
        ]


def plan_step(build: Callable[[], tuple[nn.Module, Batch]], schedule: Schedule) -> Plan:
    """The plan of a training step.

    Args:
        build: Makes the task, its networks and a batch, without reading any file; it is called
            where all tensors are fake.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), _Counter() as counter:
        task, batch = build()
        weights = counter.now
        counter.restart()
        trained = [parameter for parameter in task.parameters() if parameter.requires_grad]
        average = [parameter.detach().clone() for parameter in trained]
        optimizer = new_optimizer(schedule.optimizer, task, schedule.lr, schedule.weight_decay)
        runs = min(_AGAIN, schedule.accumulation)
        task.train()
        for _ in range(runs):
            generator = torch.Generator()
            with autocast(schedule.precision):
                losses = task(generator, batch)
            next(iter(losses.values())).backward()
            del losses
        operations = counter.operations * schedule.accumulation // runs
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        for mean, parameter in zip(average, trained, strict=True):
            with torch.no_grad():
                mean.lerp_(parameter, 0.5)
        state = counter.now - weights
        count = sum(parameter.numel() for parameter in trained)
        return Plan(weights, count, state, counter.peak, operations)


class _Counter(TorchDispatchMode):
    """Bytes of the storages that exist, the most that there were at any time, and operations.

    torch's own counter of operations would keep the tensors of modules beyond their use.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.operations = 0
        self._known: set[int] = set()

    def restart(self) -> None:
        """Forget the peak and the operations so far."""
        self.peak, self.operations = self.now, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0 if args[0].is_floating_point() else 1  # fake tensors have no values
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            formula = flop_registry[func._overloadpacket]
            self.operations += formula(*args, **kwargs, out_val=found)
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _giga(size: int) -> str:
    return f"{size / 1e9:8.3f} GB"
