"""Colours of the tiny world, RGB 0..1, one row for each class word."""

from __future__ import annotations

import torch
from torch import Tensor

_TABLES: dict[str, list[tuple[int, int, int]]] = {
    "skin": [(255, 224, 208), (248, 194, 156), (218, 152, 100), (164, 102, 62), (110, 68, 48)],
    "eye_color": [(104, 60, 26), (48, 122, 216), (52, 148, 70), (128, 140, 150), (214, 138, 28)],
    "hair_color": [
        (30, 26, 28), (104, 62, 32), (232, 190, 92), (196, 74, 26), (138, 138, 142),
        (238, 236, 230), (50, 92, 208), (240, 116, 176),
    ],
    "frame_color": [(24, 24, 28), (206, 34, 40), (36, 84, 204), (226, 176, 50), (246, 246, 246)],
    "lip_color": [(0, 0, 0), (200, 22, 38), (240, 92, 150), (112, 34, 112)],
    "earrings": [(0, 0, 0), (244, 194, 54), (224, 36, 44), (40, 96, 228)],
    "background": [
        (208, 72, 66), (240, 146, 64), (244, 208, 92), (88, 174, 104), (84, 152, 220),
        (134, 102, 200), (240, 156, 196), (160, 164, 170),
    ],
    "shirt": [
        (240, 240, 240), (40, 40, 46), (196, 50, 54), (52, 92, 180), (58, 138, 84), (232, 190, 62),
        (122, 72, 158),
    ],
}  # fmt: skip

COLOURS: dict[str, Tensor] = {
    name: torch.tensor(rows, dtype=torch.float32) / 255 for name, rows in _TABLES.items()
}


def skin_colour(kind: float, tone: float) -> Tensor:
    """Colour of the skin [3]: a class, made darker or lighter by ``tone`` in -1..1."""
    return COLOURS["skin"][int(kind)] * (1 + 0.09 * tone)
