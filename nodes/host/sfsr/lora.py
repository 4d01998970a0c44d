"""The LoRA of a published adapter, as ordinary weight patches of the host.

Host objects used: ``weight_adapter.LoRAAdapter``, ``ModelPatcher.patches`` and ``hook_patches``,
``WrappersMP.OUTER_SAMPLE``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor

from ....errors import IncompatibleError
from ..weight_patches import KEY, add_weight_patches
from .sources import WHERE

Lora = Mapping[str, tuple[Tensor, Tensor]]


def put_lora(model: Any, lora: Lora, strength: float, where: str = WHERE) -> None:
    """Give a cloned MODEL the LoRA: W + strength * up @ down, without alpha.

    Args:
        where: The node, for messages.

    Raises:
        IncompatibleError: The same LoRA is on the MODEL already; or, when a sampling begins, it was
            loaded again behind this.
    """
    first = _FirstLayer.of(lora, where)
    if first.count(model):
        raise first.error()
    patches = {
        f"diffusion_model.{place}.weight": LoRAAdapter(set(), (up, down, None, None, None, None))
        for place, (down, up) in lora.items()
    }
    add_weight_patches(model, patches, strength)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, f"{KEY}_lora", _Once(first))


@dataclass(frozen=True, eq=False)
class _FirstLayer:
    """One layer is enough to recognise a LoRA: the separate file repeats the one inside.

    Args:
        key: The MODEL's weight.
        down: The LoRA's down matrix there.
        where: The node, for messages.
    """

    key: str
    down: Tensor
    where: str

    @classmethod
    def of(cls, lora: Lora, where: str) -> _FirstLayer:
        place, (down, _) = next(iter(lora.items()))
        return cls(f"diffusion_model.{place}.weight", down, where)

    def count(self, model: Any) -> int:
        """How often the LoRA is on a MODEL, as patches of its weights or of its hooks."""
        tables = (model.patches, *model.hook_patches.values())
        return sum(self._alike(patch[1]) for table in tables for patch in table.get(self.key, ()))

    def error(self) -> IncompatibleError:
        """What to raise where it is there once too often."""
        return IncompatibleError(
            "the LoRA of this adapter is on the model already and would count twice",
            where=self.where,
            fix="Set LoRA strength to 0, or take out the other node that loads it",
        )

    def _alike(self, patch: Any) -> bool:
        down = self.down
        return any(
            isinstance(tensor, Tensor)
            and tensor.shape == down.shape
            and torch.allclose(tensor.cpu().float(), down.float(), rtol=1e-2, atol=1e-6)
            for tensor in getattr(patch, "weights", ())
        )


@dataclass(frozen=True, eq=False)
class _Once:
    """OUTER_SAMPLE wrapper: no sampling if the LoRA was loaded again behind."""

    first: _FirstLayer

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        if self.first.count(executor.class_obj.model_patcher) > 1:
            raise self.first.error()
        return executor(*args, **kwargs)
