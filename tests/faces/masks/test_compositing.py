"""Composite: the base outside the face comes back bit for bit, the seam is smooth."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.masks.compositing import blend, composite, feather
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor


def random_mask(seed: int, height: int, width: int) -> Tensor:
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
    mask = random_mask(seed, height, width)
    soft = feather(mask, radius)
    assert (soft[mask == 0] == 0).all()
    assert soft.min() >= 0 and soft.max() <= 1
    mixed = composite(base, generated, mask, radius)
    outside = (mask == 0).expand_as(base)
    assert torch.equal(mixed[outside], base[outside])
    inside = (soft == 1).expand_as(base)
    assert torch.equal(mixed[inside], generated[inside])
    assert torch.allclose(mixed, composite(base, generated, soft), atol=1e-6)


def test_feather_rises_smoothly_and_ends() -> None:
    mask = torch.ones(1, 1, 9, 64)
    mask[..., :20] = 0
    profile = feather(mask, 6)[0, 0, 4]
    assert (profile.diff() >= 0).all()
    assert profile[20] < 0.2 and profile[28:].min() == 1
    assert profile.diff().abs().max() < 0.3
    assert torch.equal(feather(mask, 0), mask)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_blending_equal_values_changes_nothing(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(1, 1, 8, 8, generator=generator)
    ones = torch.ones(1, 3, 8, 8)
    assert torch.equal(blend(ones, ones, mask), ones)


def test_nan_of_the_network_stays_inside_the_face() -> None:
    base, generated = torch.rand(1, 3, 4, 4), torch.full((1, 3, 4, 4), float("nan"))
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 0] = 1
    assert torch.equal(composite(base, generated, mask)[..., 1:], base[..., 1:])


def test_refusals() -> None:
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(InputError, match="differ in size"):
        composite(image, image, torch.ones(1, 1, 4, 4))
