"""A fixture folder (docs/reference/parity.md 3) as one object: settings, inputs, goldens.

The folder holds ``config.json``, ``weights_fp16.safetensors``, ``forward.safetensors``,
``sampler.safetensors``, ``pose_angles.json`` with ``pose_N.png``, ``mask_512.png``,
``ddim50_eta1.json`` and, if the full-size names are to be checked, ``sd15_layout.json``. Widths,
depths, strengths, batch, latent size and number of steps are read from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import limits
from ...errors import ModelFileError
from ...pipelines.layout import UNetLayout
from ...pipelines.ldm import UNET_PREFIX
from ...readers.files import read_text
from ...readers.image import open_image
from ...readers.json_text import parse_json
from ...state_dict import without_prefix
from ...storage import read_weights

_INPUTS = ("in.", "noise.", "attn.in.", "tok.w.", "tok.ids", "tok.embeds_in")
_CHECKED_INPUTS = ("in.mask", "in.mask_raw")
"""Inputs that are also computed here, from ``mask_512.png``."""


@dataclass(frozen=True, eq=False)
class Fixture:
    """Inputs, weights and goldens of one folder; half-precision tensors widened to float32.

    ``deltas`` are the small and the full adapter strength, ``tensors`` the union of the forward
    and sampler files (``forward`` and ``sampler`` keep each file's own inputs).
    """

    folder: Path
    layout: UNetLayout
    deltas: tuple[float, float]
    reference_delta: float
    block: str
    placeholder_id: int
    weights: dict[str, Tensor]
    forward: dict[str, Tensor]
    sampler: dict[str, Tensor]

    @classmethod
    def read(cls, folder: str | Path) -> Fixture:
        """Read settings and tensors.

        Raises:
            ModelFileError: A file is missing or unreadable, or the settings lack an entry.
        """
        folder = Path(folder)
        config = read_json(folder / "config.json")
        try:
            small, full = (float(delta) for delta in config["delta"])
            settings: dict[str, Any] = {
                "layout": UNetLayout.from_ldm(config["net"]),
                "deltas": (small, full),
                "reference_delta": float(config["reference_delta"]),
                "placeholder_id": int(config.get("placeholder_id", 7)),
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"the fixture's settings are unusable: {error!r}",
                where=str(folder / "config.json"),
                fix="Use the format of the reference fixture",
            ) from error
        files = (
            _float32(read_weights(folder / f"{name}.safetensors")[0])
            for name in ("weights_fp16", "forward", "sampler")
        )
        weights, forward, sampler = files
        block = str(config.get("block", "") or _tested_block(weights, forward))
        return cls(
            folder, block=block, weights=weights, forward=forward, sampler=sampler, **settings
        )

    def mask(self) -> Tensor:
        """The mask image, uint8 [1, 1, H, W], 255 = keep the base."""
        return self.image("mask_512.png")[None, None]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The weights under a prefix, without it."""
        return without_prefix(self.weights, prefix)

    def goldens(self) -> dict[str, Tensor]:
        """All values to recompute, by name, from all files of the folder."""
        found = {
            name: tensor
            for tensors in (self.forward, self.sampler)
            for name, tensor in tensors.items()
            if name in _CHECKED_INPUTS or not name.startswith(_INPUTS)
        }
        for name, values in read_json(self.folder / "ddim50_eta1.json").items():
            found[f"ddim50_eta1.{name}"] = torch.tensor(values, dtype=torch.float64)
        for index, (_, ends) in enumerate(self.poses()):
            found[f"pose_{index}.ends"] = ends
            found[f"pose_{index}.png"] = self.image(f"pose_{index}.png")
        layout = self.folder / "sd15_layout.json"
        for name, (shape, *_) in (read_json(layout) if layout.is_file() else {}).items():
            if name.startswith(("model.", "control_model.", "embedding_manager.", "first_stage_")):
                found[f"sd15_layout/{name}"] = torch.tensor(shape, dtype=torch.int64)
        return found

    def poses(self) -> Iterator[tuple[tuple[float, float, float], Tensor]]:
        """(yaw, pitch, roll) in degrees and the line ends [3, 2] of each pose image."""
        for pose in read_json(self.folder / "pose_angles.json"):
            ends = [pose["ends_int"][axis] for axis in ("x_red", "y_green", "z_blue")]
            yield (pose["yaw"], pose["pitch"], pose["roll"]), torch.tensor(ends)

    def image(self, name: str) -> Tensor:
        """An image from the folder as uint8 [H, W] or [H, W, 3]."""
        path = self.folder / name
        try:
            with open_image(path) as image:
                return torch.from_numpy(np.array(image))
        except Exception as error:  # a broken or hostile file may raise anything
            raise ModelFileError(
                "the image cannot be read", where=str(path), fix="Copy the fixture again"
            ) from error


def read_json(path: Path) -> Any:
    """Content of a JSON file; ModelFileError if it is missing or invalid."""
    try:
        return parse_json(read_text(path, limits.JSON_BYTES))
    except (OSError, ValueError) as error:
        raise ModelFileError(
            "the file is missing or not valid JSON", where=str(path), fix="Copy the fixture again"
        ) from error


def _tested_block(weights: dict[str, Tensor], forward: dict[str, Tensor]) -> str:
    """The block of the single-attention goldens: output_blocks.1, or the first of their width."""
    width = forward["attn.in.h"].shape[-1] if "attn.in.h" in forward else 0
    query = f"{UNET_PREFIX}output_blocks.{{}}.1.transformer_blocks.0.attn1.to_q.weight"
    fitting = [
        block
        for block in range(len(weights))
        if query.format(block) in weights and len(weights[query.format(block)]) == width
    ]
    return f"output_blocks.{1 if 1 in fitting or not fitting else fitting[0]}"


def _float32(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: t.float() if t.dtype == torch.float16 else t for k, t in tensors.items()}
