"""Checkpoints of the released layout (all 1,834 names) with random values, small or full-size."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import torch
from locate_host import PARITY
from torch import Tensor

LAYOUT = PARITY / "sd15_layout.json"
SMALL_CHANNELS = 32
SMALL_CONTEXT = 48
"""Of the scaled-down UNet: a tenth and a sixteenth of Stable Diffusion 1.5."""


def full_shapes() -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Name -> shape and dtype of the release."""
    return {
        name: (tuple(shape), getattr(torch, dtype))
        for name, (shape, dtype, _) in json.loads(LAYOUT.read_text()).items()
    }


def small_shapes() -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """The same names, 1/100 of the size; adapter, UNet, pose branch and token fit each other."""
    return {
        name: (tuple(_smaller(name, n) for n in shape), dtype)
        for name, (shape, dtype) in full_shapes().items()
    }


def random_tensors(
    shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]], seed: int = 0
) -> dict[str, Tensor]:
    """Values at which every weight matters and nothing explodes."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _random(name, *kind, generator) for name, kind in shapes.items()}


def write_lightning(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """A checkpoint as Lightning 1.5 writes it, with what else lies in one."""
    some = next(iter(tensors.values()))
    torch.save(
        {
            "epoch": 3,
            "global_step": 44397232,
            "pytorch-lightning_version": "1.5.0",
            "state_dict": OrderedDict(tensors),
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros_like(some)}}}],
            "lr_schedulers": [],
            "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        },
        path,
    )
    return path


def _smaller(name: str, n: int) -> int:
    if name.startswith(("model.diffusion_model.", "control_model.")):
        return SMALL_CONTEXT if n == 768 else n // 10 if n % 320 == 0 else n
    if name.startswith("embedding_manager."):
        return SMALL_CONTEXT if n == 768 else n
    return n // 16 if n >= 64 else n


def _random(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> Tensor:
    if not dtype.is_floating_point:
        return torch.full(shape, 7, dtype=dtype)
    noise = torch.randn(shape, generator=generator)
    if name.endswith("running_var"):
        return noise.abs_().add_(0.5)
    if len(shape) > 1:
        return noise.mul_(0.7 / noise[0].numel() ** 0.5)
    centre = 1.0 if name.endswith("weight") else 0.0
    return noise.mul_(0.05).add_(centre)
