"""8-bit values of image tensors: rounding, clamping, layout."""

from __future__ import annotations

import numpy as np
import torch
from comfyui_dense_face.faces.pixels import to_array, to_uint8


def test_every_value_survives_the_round_trip() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(values.float() / 255), values)
    assert torch.equal(to_uint8(values.half() / 255), values)


def test_values_are_rounded_and_clamped() -> None:
    image = torch.tensor([-0.5, 0.4 / 255, 0.6 / 255, 254.4 / 255, 254.6 / 255, 1.5])
    assert to_uint8(image).tolist() == [0, 0, 1, 254, 255, 255]


def test_arrays_have_their_channels_last() -> None:
    images = torch.rand(2, 3, 4, 5, requires_grad=True)
    array = to_array(images)
    assert array.shape == (2, 4, 5, 3) and array.dtype == np.uint8
    assert array.flags["C_CONTIGUOUS"]
    assert np.array_equal(array[1], to_array(images[1]))
    assert array[0, 1, 2, 0] == round(255 * float(images[0, 0, 1, 2]))
