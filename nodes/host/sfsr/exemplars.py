"""Exemplar images in the host's folders: ``models/sfsr/exemplars/<word>/``."""

from __future__ import annotations

from pathlib import Path

import folder_paths
import numpy as np
import torch
from PIL import ImageOps
from torch import Tensor

from .... import limits
from ....errors import InputError
from ....readers.image import open_image
from ....sfsr.exemplars import exemplar_files
from ..folders import file_mark

FOLDER, EXEMPLARS = "sfsr", "exemplars"


def exemplar_roots() -> list[Path]:
    """All places that may hold a folder for each word, those of extra_model_paths.yaml too."""
    return [Path(place) / EXEMPLARS for place in folder_paths.get_folder_paths(FOLDER)]


def exemplar_mark(word: str) -> str:
    """Changes when images of a word come, go or change; empty where there are none."""
    try:
        files = exemplar_files(exemplar_roots(), word)
    except InputError:
        return ""
    return ";".join(f"{file}:{file_mark(file)}" for file in files)


def read_exemplar(path: Path) -> Tensor:
    """An image file as [3, H, W] in 0..1, turned as its EXIF data say.

    Raises:
        InputError: It cannot be read.
    """
    try:
        with open_image(path) as file:
            if max(file.size) > limits.IMAGE_SIDE:
                raise ValueError(f"its sides are longer than {limits.IMAGE_SIDE} px")
            image = ImageOps.exif_transpose(file).convert("RGB")
    except Exception as error:  # a broken or hostile file may raise anything
        raise InputError(f"it cannot be read, {error}", where=str(path)) from error
    return torch.from_numpy(np.array(image)).movedim(-1, 0).float() / 255
