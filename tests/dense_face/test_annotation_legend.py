"""Names beside images of face parts."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.dense_face.annotation.legend import with_names
from comfyui_dense_face.faces.parts import PART_COLOURS, PART_NAMES


@pytest.mark.parametrize(("height", "shown"), [(64, 320), (512, 512), (2048, 1024)])
def test_the_image_stays_beside_the_names(height: int, shown: int) -> None:
    images = torch.full((2, 3, height, 2 * height), 0.3)
    found = with_names(images)
    assert found.shape[:3] == (2, 3, shown) and found.shape[3] > 2 * shown + 100
    assert torch.allclose(found[..., : 2 * shown], torch.tensor(0.3), atol=1e-6)


def test_each_name_has_its_colour() -> None:
    column = with_names(torch.zeros(1, 3, 640, 8))[0, :, :, 8:]
    for number, colour in enumerate(PART_COLOURS):
        row = column[:, number * 64 : (number + 1) * 64]
        square = (row - torch.tensor(colour)[:, None, None] / 255).abs().amax(0) < 1e-3
        assert square.sum() > 300
        ink = (row.amin(0) > 0.9).sum()
        assert ink > 30, PART_NAMES[number]


def test_other_parts_are_faint() -> None:
    column = with_names(torch.zeros(1, 3, 640, 8), {"nose"})[0, :, :, 8:]
    bright = [(column[:, i * 64 : (i + 1) * 64].amin(0) > 0.9).sum() > 0 for i in range(10)]
    assert [PART_NAMES[i] for i, each in enumerate(bright) if each] == ["nose"]
