"""Crops: where they are taken, that they come back, and that nothing else changes."""

from __future__ import annotations

import math

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.crops.alignment import TEMPLATE
from comfyui_dense_face.faces.crops.crop import (
    CropPlace,
    crop_place,
    cropped,
    pasted,
    with_colours_of,
)
from comfyui_dense_face.faces.crops.similarity import fit_similarity
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F


def face_at(x: float, y: float, scale: float, angle: float) -> Tensor:
    """Five points of a face around (x, y), turned clockwise by so many degrees."""
    a = math.radians(angle)
    turn = torch.tensor([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    return (TEMPLATE - 56) * scale @ turn.T + torch.tensor([x, y])


def smooth_image(width: int, height: int, seed: int = 0) -> Tensor:
    noise = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)[0]


def test_upright_face_gives_an_upright_square() -> None:
    five = torch.tensor([[40.0, 40], [60, 40], [50, 50], [42, 60], [58, 60]])
    place = crop_place(five, (100, 100), 128)
    # Eyes 20 apart and 20 above the mouth: reach 40, middle 2 below the eyes.
    expected = torch.tensor([[10.0, 2], [90, 2], [90, 82], [10, 82]], dtype=torch.float64)
    assert torch.allclose(place.quad(), expected, atol=1e-5)
    assert place.to_image.scale == pytest.approx(80 / 128)
    wide = crop_place(five, (100, 100), 128, padding=0.25)
    assert wide.to_image.scale == pytest.approx(120 / 128)


faces = st.builds(
    face_at, st.floats(-50, 300), st.floats(-50, 300), st.floats(0.3, 4), st.floats(-180, 180)
)


@settings(max_examples=40, deadline=None)
@given(five=faces, size=st.integers(16, 96), seed=st.integers(0, 99))
def test_outside_the_mask_nothing_changes(five: Tensor, size: int, seed: int) -> None:
    image = smooth_image(256, 192, seed)
    place = crop_place(five, (256, 192), size)
    result = pasted(image, 1 - cropped(image, place), place)
    y, x = torch.meshgrid(torch.arange(192) + 0.5, torch.arange(256) + 0.5, indexing="ij")
    inside = place.points_in_crop(torch.stack([x, y], -1).reshape(-1, 2)).reshape(192, 256, 2)
    outside = ((inside < 0) | (inside > size)).any(-1)
    assert torch.equal(result[:, outside], image[:, outside])
    assert result.shape == image.shape and bool(((result >= 0) & (result <= 1)).all())


@pytest.mark.parametrize("angle", [0, 17, -90, 180])
@pytest.mark.parametrize("match_colours", [False, True])
def test_pasting_an_unchanged_crop_restores_the_image(angle: float, match_colours: bool) -> None:
    image = smooth_image(512, 512)
    place = crop_place(face_at(250, 260, 2.0, angle), (512, 512), 512)
    result = pasted(image, cropped(image, place), place, match_colours=match_colours)
    changed = (result != image).any(0)
    assert bool(changed.any())
    assert float((result - image).abs()[:, changed].mean()) < 1.5 / 255


def test_crop_beyond_the_edge_is_reflected() -> None:
    image = 0.5 + 0.4 * smooth_image(128, 128)
    place = crop_place(face_at(0, 0, 1.0, 0), (128, 128), 64)
    crop = cropped(image, place)
    assert float(crop.min()) >= 0.5
    far = crop_place(face_at(5000, 5000, 1.0, 0), (128, 128), 64)
    assert torch.equal(pasted(image, crop, far), image)


def test_mask_and_its_feather() -> None:
    image, five = torch.zeros(3, 200, 200), face_at(100, 100, 1.0, 0)
    place = crop_place(five, (200, 200), 100)
    mask = torch.zeros(100, 100)
    white = torch.ones(3, 100, 100)
    assert torch.equal(pasted(image, white, place, mask), image)
    mask[40:60, 40:60] = 1
    hard = pasted(image, white, place, mask, soft=0)
    soft = pasted(image, white, place, mask, soft=0.05)
    assert float(hard.sum()) > float(soft.sum()) > 0
    assert not bool((soft > hard + 1e-6).any())


@pytest.mark.parametrize(("soft", "border"), [(0.0, 1), (0.05, 4), (0.1, 8)])
def test_the_kept_border_is_exact_to_the_pixel(soft: float, border: int) -> None:
    """A crop of 80 px that lies on whole pixels, from (10, 2)."""
    image = torch.zeros(3, 100, 100)
    left, top, right, bottom = 10, 2, 90, 82
    quad = torch.tensor([[left, top], [right, top], [right, bottom], [left, bottom]])
    place = CropPlace(fit_similarity(quad - quad[0], quad), 80, (100, 100))
    changed = pasted(image, torch.ones(3, 80, 80), place, soft=soft) > 1e-6
    # Halfway along the sides: a soft border rounds the corners.
    columns, rows = changed[0, 42].nonzero()[:, 0], changed[0, :, 50].nonzero()[:, 0]
    assert columns.tolist() == list(range(left + border, right - border))
    assert rows.tolist() == list(range(top + border, bottom - border))


def test_crop_may_have_another_size() -> None:
    image = smooth_image(256, 256)
    place = crop_place(face_at(128, 128, 1.0, 10), (256, 256), 128)
    large = F.interpolate(cropped(image, place)[None], scale_factor=2, mode="bicubic")[0]
    assert float((pasted(image, large, place) - image).abs().max()) < 0.1


def test_colours_are_matched_to_the_image() -> None:
    reference = smooth_image(64, 64)
    mask = torch.ones(64, 64)
    mask[:16] = 0
    tinted = reference * torch.tensor([0.9, 1.0, 0.85])[:, None, None] + 0.05
    matched = with_colours_of(tinted, reference, mask)
    assert float((matched - reference).abs().max()) < 1e-3
    assert torch.allclose(with_colours_of(reference, reference, mask), reference)
    assert torch.isfinite(
        with_colours_of(torch.zeros(3, 64, 64), reference, torch.ones(64, 64))
    ).all()


def test_mismatches_are_named() -> None:
    five = face_at(50, 50, 1.0, 0)
    place: CropPlace = crop_place(five, (100, 100), 64)
    with pytest.raises(InputError, match="image of 100x100 px, this one has 90x80"):
        cropped(torch.zeros(3, 80, 90), place)
    with pytest.raises(InputError, match="mask has shape"):
        pasted(torch.zeros(3, 100, 100), torch.zeros(3, 64, 64), place, torch.zeros(32, 32))
    with pytest.raises(InputError, match="square crop"):
        pasted(torch.zeros(3, 100, 100), torch.zeros(4, 64, 64), place)
    with pytest.raises(InputError, match="all coincide"):
        crop_place(torch.ones(5, 2), (100, 100), 64)
    with pytest.raises(InputError, match="crop of 8 px"):
        crop_place(five, (100, 100), 8)
    with pytest.raises(InputError, match="padding"):
        crop_place(five, (100, 100), 64, padding=9)


def test_photograph_survives_a_crop_of_512_px() -> None:
    data = pytest.importorskip("skimage.data")
    image = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1).float() / 255
    five = torch.tensor([[206.5, 140], [247.7, 137.5], [227, 168], [207, 180], [250, 178]])
    for padding in (0, 0.25):
        place = crop_place(five, (512, 512), 512, padding)
        result = pasted(image, cropped(image, place), place)
        changed = (result != image).any(0)
        assert float((result - image).abs()[:, changed].mean()) < 1.0 / 255
