"""Composite: the base outside the face comes back bit for bit, the seam is smooth."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.dense_face.composite import composite, feather, paste_back
from comfyui_dense_face.errors import InputError
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor


def random_keep(seed: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(1, 1, height, width, generator=generator) > 0.4).float()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    height=st.integers(2, 24),
    width=st.integers(2, 24),
    radius=st.floats(0, 6),
)
def test_identical_where_the_base_is_kept(
    seed: int, height: int, width: int, radius: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    base, generated = torch.rand(2, 1, 3, height, width, generator=generator)
    keep = random_keep(seed, height, width)
    soft = feather(keep, radius)
    assert (soft[keep == 1] == 1).all()
    assert soft.min() >= 0 and soft.max() <= 1
    mixed = composite(base, generated, soft)
    where = (keep == 1).expand_as(base)
    assert torch.equal(mixed[where], base[where])
    inside = (soft == 0).expand_as(base)
    assert torch.equal(mixed[inside], generated[inside])


def test_feather_falls_smoothly_and_ends() -> None:
    keep = torch.zeros(1, 1, 9, 64)
    keep[..., :20] = 1
    profile = feather(keep, 6)[0, 0, 4]
    assert (profile.diff() <= 0).all()
    assert profile[20] > 0.8 and profile[28:].max() == 0
    assert profile.diff().abs().max() < 0.3
    assert feather(keep, 0) is keep


def test_nan_of_the_network_stays_inside_the_face() -> None:
    base, generated = torch.rand(1, 3, 4, 4), torch.full((1, 3, 4, 4), float("nan"))
    keep = torch.ones(1, 1, 4, 4)
    keep[..., 0] = 0
    assert torch.equal(composite(base, generated, keep)[..., 1:], base[..., 1:])


@pytest.mark.parametrize("crop_size", [16, 8, 40])
def test_paste_back_touches_only_the_face(crop_size: int) -> None:
    full = torch.rand(2, 3, 50, 60)
    crop = torch.rand(2, 3, crop_size, crop_size)
    keep = torch.ones(1, 1, crop_size, crop_size)
    keep[..., crop_size // 4 : -crop_size // 4, crop_size // 4 : -crop_size // 4] = 0
    pasted = paste_back(full, crop, keep, (10, 20, 26, 36))
    changed = (pasted != full).any(0).any(0)
    assert changed[25:31, 15:21].any()
    changed[20:36, 10:26] = False
    assert not changed.any()
    assert pasted.min() >= 0 and pasted.max() <= 1


def test_whole_crop_at_its_own_size_is_copied() -> None:
    full, crop = torch.rand(1, 3, 12, 12), torch.rand(1, 3, 4, 4)
    pasted = paste_back(full, crop, torch.zeros(1, 1, 4, 4), (2, 3, 6, 7))
    assert torch.equal(pasted[..., 3:7, 2:6], crop)


def test_refusals() -> None:
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(InputError, match="differ in size"):
        composite(image, image, torch.zeros(1, 1, 4, 4))
    for box in ((0, 0, 9, 8), (4, 4, 4, 8), (-1, 0, 4, 4)):
        with pytest.raises(InputError, match="does not lie"):
            paste_back(image, image, torch.zeros(1, 1, 8, 8), box)
