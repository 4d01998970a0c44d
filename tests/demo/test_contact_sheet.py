"""Names of rows and columns on contact sheets."""

from __future__ import annotations

import numpy as np
import torch
from comfyui_dense_face.demo.contact_sheet import labelled_sheet


def test_row_names_stand_at_the_left_and_change_nothing_else() -> None:
    rows = [torch.zeros(2, 3, 40, 40), torch.full((2, 3, 40, 40), 0.5)]
    plain = labelled_sheet(rows, ["a", "b"], "", ["note"])
    named = labelled_sheet(rows, ["a", "b"], "", ["note"], ["one", "a name that is too long"])
    assert named.width - plain.width == 44 and named.height == plain.height
    left, right = np.asarray(named)[:, :56], np.asarray(named)[:, 56:]
    top = int((np.asarray(plain) == 0).all(2).any(1).argmax())
    assert np.array_equal(right[: top + 84], np.asarray(plain)[: top + 84, 12:])
    for number in range(2):
        band = left[top + 44 * number : top + 44 * number + 20, 12:52]
        assert (band < 200).any()
    assert (left[:, 52:] == 255).all()
