"""Files of the published layouts at full size, with random values, for runs in the real host."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from released_file import full_shapes, random_tensors
from safetensors.torch import save_file
from torch import Tensor

LAYOUTS = Path(__file__).resolve().parents[1] / "data" / "published_parity"
_DTYPES = {"F16": torch.float16, "F32": torch.float32}
_BASE = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")
_NOT_OF_THE_BASE = (".per_q.", ".per_k.", ".per_v.", ".feat_to_q.")
_FIRST = "model.diffusion_model.input_blocks.0.0.weight"


def write_sd15(path: Path, *, inpainting: bool = False) -> Path:
    """Stable Diffusion 1.5 in half precision (2.1 GB), with 9 input channels if inpainting."""
    tensors: dict[str, Tensor] = {}
    for name, (shape, dtype) in full_shapes().items():
        if not name.startswith(_BASE) or any(part in name for part in _NOT_OF_THE_BASE):
            continue
        if name == _FIRST and inpainting:
            shape = (shape[0], 9, *shape[2:])
        made = random_tensors({name: (shape, dtype)}, seed=len(tensors))[name]
        tensors[name] = made.half() if made.is_floating_point() else made
    save_file(tensors, path)
    return path


def write_published(path: Path, folder: str, layout: str, *, legacy: bool = False) -> Path:
    """A published adapter's file by its layout in ``published_parity``."""
    text = (LAYOUTS / folder / f"layout_{layout}.json").read_text(encoding="utf-8")
    generator = torch.Generator().manual_seed(3)
    nested: dict[str, Tensor] = {}
    for name, (shape, dtype) in json.loads(text).items():
        values = torch.randn(shape, generator=generator).mul_(0.02)
        nested[name] = values.to(_DTYPES[dtype])
    if any(name.startswith("image_proj.") for name in nested):
        parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for name, values in nested.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = values
        torch.save(parts, path, _use_new_zipfile_serialization=not legacy)
    else:
        torch.save(nested, path, _use_new_zipfile_serialization=not legacy)
    return path
