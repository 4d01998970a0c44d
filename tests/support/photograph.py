"""A photograph for tests: scikit-image's astronaut."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor


def astronaut() -> Tensor:
    """The head, as [1, 3, 256, 256] in 0..1; skips the test where scikit-image is missing."""
    image = pytest.importorskip("skimage.data").astronaut()[:256, 96:352]
    return torch.from_numpy(image.copy()).movedim(-1, 0)[None].float() / 255
