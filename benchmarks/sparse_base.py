"""Base files of any size that take no room on the disk: all weights are zeros that nobody wrote.

Read, they count in full.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ..dense_face.checkpoints.safetensors_stream import header_bytes
from ..pipelines.base import (
    clip_config,
    new_text_encoder,
    new_unet,
    new_vae,
    sizes_as_text,
)
from ..pipelines.layout import UNetLayout, VAELayout
from ..pipelines.ldm import text_to_ldm, unet_to_ldm, vae_to_ldm
from ..pipelines.single_file import SD15_TEXT, SD15_UNET
from ..readers.lazy_tensor import LazyTensor

MIDDLE_UNET = UNetLayout(model_channels=128, context_dim=256, image_size=64)
MIDDLE_VAE = VAELayout(channels=(64, 128, 256, 256))
MIDDLE_TEXT = clip_config(8000, 77, 7998, 7999, width=256, layers=4, heads=4)


def write_sparse_base(
    path: Path, *, middle: bool = False, dtype: torch.dtype = torch.float32
) -> Path:
    """Stable Diffusion 1.5 (4.3 GB in float32), or one of a seventh of its weights."""
    with torch.device("meta"):
        unet = new_unet(MIDDLE_UNET if middle else SD15_UNET)
        vae = new_vae(MIDDLE_VAE if middle else VAELayout())
        text = new_text_encoder(MIDDLE_TEXT if middle else SD15_TEXT)
    tensors = {
        name: LazyTensor(tuple(tensor.shape), dtype, tensor.clone)
        for name, tensor in (unet_to_ldm(unet) | vae_to_ldm(vae) | text_to_ldm(text)).items()
    }
    header = header_bytes(tensors, {"config": sizes_as_text(unet, vae, text)} if middle else {})
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + sum(tensor.nbytes for tensor in tensors.values()))
    return path
