"""A base of one's own before it is loaded: which model it is, and what adapters have to fit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ...sfsr.ip_adapter.places import Target, in_file_order
from ..base import Base, new_unet
from ..checkpoint_file import read_header
from ..sdxl.load import load_sdxl, sdxl_unet
from ..single_file import is_sdxl, load_checkpoint, unet_layout
from ..source_attention import layers_of

SIZE, SDXL_SIZE = 512, 1024
"""Pixels of a side that the bases were trained at."""


@dataclass(frozen=True)
class BaseFile:
    """A checkpoint, known by the names and shapes in it alone.

    target: What an adapter has to fit.
    """

    path: Path
    sdxl: bool
    target: Target

    def load(self) -> Base:
        """The base, in float32 and frozen.

        Raises:
            ModelFileError: A weight is missing, or the file was altered.
        """
        if self.sdxl:
            return load_sdxl(self.path)
        return load_checkpoint(self.path, inpainting=True)


def base_file(path: Path) -> BaseFile:
    """Look at a checkpoint of Stable Diffusion 1.5, ordinary or inpainting, or of SDXL.

    Raises:
        ModelFileError: The file is missing or damaged.
        IncompatibleError: It is another model.
    """
    sdxl = is_sdxl(read_header(path)[0])
    if sdxl:
        unet = sdxl_unet(path)
    else:
        with torch.device("meta"):
            unet = new_unet(unet_layout(path, inpainting=True))
    layers = in_file_order(layers_of(unet))
    return BaseFile(path, sdxl, Target(layers, unet.config["cross_attention_dim"]))
