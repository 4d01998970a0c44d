"""SFSR's nodes on the random tiny world."""

from __future__ import annotations

from typing import Any

import torch
from comfyui_dense_face.storage import read_weights
from in_host import Tiny
from random_published import published
from tiny_random import BLOCKS, CONTEXT, ENCODER, fill
from torch import Tensor

SIDE = 128


def random_adapter(tiny: Tiny, *, hint: bool = True, identities: Any = None, seed: int = 4) -> Any:
    """SFSR_ADAPTER for the random base, strong enough to matter in every output."""
    layout = tiny.module("sfsr.compound_inputs").CompoundLayout(
        identities or {ENCODER: 512}, tokens=4, width=CONTEXT, hidden=32
    )
    made = tiny.module("sfsr.adapter").SFSRAdapter(layout, BLOCKS, 64 if hint else 0)
    return loaded(tiny, fill(made, torch.Generator().manual_seed(seed)))


def random_published(tiny: Tiny, kind: str = "FACEID", **sizes: Any) -> Any:
    """SFSR_ADAPTER of a published kind, in the random base's sizes."""
    adapter = published(kind, tiny.module, **sizes)
    return tiny.module("nodes.sfsr.sockets").LoadedSFSR(f"random {kind}", adapter)


def loaded(tiny: Tiny, adapter: Any) -> Any:
    """SFSR_ADAPTER of a network."""
    adapter = adapter.eval().requires_grad_(False)
    return tiny.module("nodes.sfsr.sockets").LoadedSFSR("random", adapter)


def expressions(tiny: Tiny, *shapes: dict[str, float]) -> Any:
    """SFSR_EXPRESSION of blendshapes by name, one for each dict."""
    from_values = tiny.module("sfsr.expression").from_values
    codes = tuple(from_values(each) for each in shapes or ({"jawOpen": 1.0},))
    return tiny.module("nodes.sockets").Expressions(codes)


def scene(seed: int = 1, count: int = 1) -> Tensor:
    """IMAGE with something in it."""
    small = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, (SIDE, SIDE), mode="bilinear").movedim(1, -1)


def face_mask() -> Tensor:
    """MASK of a face, not along the cells of the latent."""
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 30:101, 25:90] = 1
    return mask


def background(tiny: Tiny, image: Tensor | None = None, mask: Tensor | None = None) -> Any:
    """(SFSR_BACKGROUND, LATENT, IMAGE) of a scene."""
    image, mask = scene() if image is None else image, face_mask() if mask is None else mask
    return tiny.run("Background", image, mask, tiny.vae, 0.04, "mask first")


def inpainting(tiny: Tiny) -> Any:
    """The tiny base with five more input channels."""
    tensors, _ = read_weights(tiny.folder / "tiny_base.safetensors")
    prefix = "model.diffusion_model."
    unet = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
    first = unet["input_blocks.0.0.weight"]
    more = torch.randn(len(first), 5, 3, 3, generator=torch.Generator().manual_seed(2)) / 7
    unet["input_blocks.0.0.weight"] = torch.cat([first, more], 1)
    with torch.inference_mode():
        model = tiny.module("nodes.host.tiny.tiny_sd").build_model(unet, 4)
        model.model.set_inpaint()
    return model


def apply(tiny: Tiny, adapter: Any, model: Any = None, people: Any = None, **changes: Any) -> Any:
    """Apply SFSR with its defaults, and a face with an open mouth."""
    inputs: dict[str, Any] = {
        "model": model or tiny.model,
        "adapter": adapter,
        "identity": people or tiny.people(),
        "balance": 0.0,
        "identity_weight": 1.0,
        "expression_weight": 1.0,
        "identity_start_percent": 0.0,
        "identity_end_percent": 1.0,
        "expression_start_percent": 0.0,
        "expression_end_percent": 1.0,
        "keep_identity_out": False,
        "expression": expressions(tiny),
    }
    return tiny.run("ApplySFSR", **{**inputs, **changes})[0]
