"""The LoRA inside FaceID files, as ordinary weight patches of the host.

Host objects used: ``weight_adapter.LoRAAdapter``, ``ModelPatcher.patches``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from comfy.weight_adapter import LoRAAdapter
from torch import Tensor

from ....errors import IncompatibleError
from ..weight_patches import add_weight_patches
from .sources import WHERE

Lora = Mapping[str, tuple[Tensor, Tensor]]


def put_lora(model: Any, lora: Lora, strength: float) -> None:
    """Give a cloned MODEL the LoRA: W + strength * up @ down, without alpha.

    Raises:
        IncompatibleError: The same LoRA is on the MODEL already.
    """
    _require_once(model, lora)
    patches = {
        f"diffusion_model.{place}.weight": LoRAAdapter(set(), (up, down, None, None, None, None))
        for place, (down, up) in lora.items()
    }
    add_weight_patches(model, patches, strength)


def _require_once(model: Any, lora: Lora) -> None:
    """One weight is enough to know a LoRA again: the separate file repeats the one inside."""
    place, (down, _) = next(iter(lora.items()))
    for patch in model.patches.get(f"diffusion_model.{place}.weight", ()):
        for tensor in getattr(patch[1], "weights", ()):
            alike = isinstance(tensor, Tensor) and tensor.shape == down.shape
            if alike and torch.allclose(tensor.cpu().float(), down.float(), rtol=1e-2, atol=1e-6):
                raise IncompatibleError(
                    "the LoRA of this FaceID file is on the model already and would count twice",
                    where=WHERE,
                    fix="Set lora_strength to 0, or take the Load LoRA node out",
                )
