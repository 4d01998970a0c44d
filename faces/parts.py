"""The ten classes of a part mask, in palette order.

Colours are matplotlib's "Paired" map (RGB), as in the Dense-Face toy dataset. "Right" and "left"
are the person's own sides: class 3 is the eye at the right of the image. Hair, neck, clothes,
ears and glasses count as background.
"""

from __future__ import annotations

PART_NAMES: tuple[str, ...] = (
    "background", "skin", "nose", "eye_left", "eye_right", "brow_left", "brow_right",
    "mouth_interior", "upper_lip", "lower_lip",
)  # fmt: skip

PART_COLOURS: tuple[tuple[int, int, int], ...] = (
    (166, 206, 227), (31, 120, 180), (178, 223, 138), (51, 160, 44), (251, 154, 153),
    (227, 26, 28), (253, 191, 111), (255, 127, 0), (202, 178, 214), (106, 61, 154),
)  # fmt: skip

PART_INDEX: dict[str, int] = {name: i for i, name in enumerate(PART_NAMES)}
