"""Crops of batches: all faces out and back, several crops of one face, mismatches."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.crops.alignment import TEMPLATE
from comfyui_dense_face.faces.crops.batch import crop_faces, paste_crops, place_for_face
from comfyui_dense_face.faces.face import Face
from torch import Tensor
from torch.nn import functional as F

WIDTH, HEIGHT = 256, 160


def face(x: float, y: float, scale: float = 0.5) -> Face:
    points = (TEMPLATE - 56) * scale + torch.tensor([x, y])
    box = (x - 28.0, y - 28.0, x + 28.0, y + 28.0)
    return Face((WIDTH, HEIGHT), box, 1.0, points, "five", "test")


def batch(count: int) -> Tensor:
    small = torch.rand(count, 3, HEIGHT // 8, WIDTH // 8, generator=torch.Generator())
    return F.interpolate(small, (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)


FACES = ((face(60, 70), face(190, 80)), (), (face(128, 90, 0.7),))


def test_all_faces_cropped_and_pasted_back() -> None:
    images = batch(3)
    crops, places = crop_faces(list(images), FACES, 96, 0.1)
    assert crops.shape == (3, 3, 96, 96) and [len(p) for p in places] == [2, 0, 1]
    back = paste_crops(images, crops, places)
    assert torch.equal(back[1], images[1])
    assert float((back - images).abs().max()) < 0.05
    negative = paste_crops(images, 1 - crops, places)
    for number in (0, 2):
        changed = (negative[number] != images[number]).any(0)
        assert 0.1 < float(changed.float().mean()) < 0.9
    # The third crop went to the third image, and each of the first two to its own face.
    alone = paste_crops(images[2:], 1 - crops[2:], places[2:])
    assert torch.equal(alone[0], negative[2])
    left = paste_crops(images[:1], 1 - crops[:1], (places[0][:1],))
    assert torch.equal(left[0][..., :120], negative[0][..., :120])
    assert torch.equal(left[0][..., 140:], images[0][..., 140:])


def test_masks_select_the_new_pixels() -> None:
    images = batch(1)
    crops, places = crop_faces(list(images), FACES[:1], 64)
    black = paste_crops(images, 1 - crops, places, torch.zeros(1, 32, 32))
    assert torch.equal(black, images)
    masks = torch.stack([torch.ones(64, 64), torch.zeros(64, 64)])
    one = paste_crops(images, 1 - crops, places, masks)
    assert torch.equal(one[..., 140:], images[..., 140:])
    assert not torch.equal(one[..., :120], images[..., :120])


def test_several_crops_of_one_face_give_several_images() -> None:
    images = batch(1)
    crops, places = crop_faces(list(images), (FACES[2],), 64)
    many = paste_crops(images, torch.cat([crops, 1 - crops, crops]), places)
    assert len(many) == 3 and torch.equal(many[0], many[2])
    assert not torch.equal(many[0], many[1])


def test_without_crops_nothing_changes() -> None:
    images = batch(2)
    crops, places = crop_faces(list(images), ((), ()), 64)
    assert crops.shape == (0, 3, 64, 64)
    assert torch.equal(paste_crops(images, torch.rand(5, 3, 64, 64), places), images)


def test_crop_of_a_bare_box_is_upright() -> None:
    box = Face((WIDTH, HEIGHT), (100, 40, 140, 90), 1.0, torch.zeros(0, 2), "none", "test")
    quad = place_for_face(box, 64).quad()
    assert quad[0].tolist() == pytest.approx([70, 15], abs=1e-3)
    assert quad[2].tolist() == pytest.approx([170, 115], abs=1e-3)


def test_mismatches_are_named() -> None:
    images = batch(3)
    crops, places = crop_faces(list(images), FACES, 64)
    with pytest.raises(InputError, match="2 crops cannot be put into 3 images: 3 faces"):
        paste_crops(images, crops[:2], places)
    with pytest.raises(InputError, match="3 crops cannot be put into 2 images"):
        paste_crops(images[:2], crops, places)
    with pytest.raises(InputError, match="2 masks for 3 crops"):
        paste_crops(images, crops, places, torch.ones(2, 64, 64))
    with pytest.raises(InputError, match="found in an image of 256x160 px, this one has 128x160"):
        crop_faces(list(images[..., :128]), FACES, 64)
    with pytest.raises(InputError, match="instead of 0 to 1"):
        paste_crops(images, crops * 255, places)
    with pytest.raises(InputError, match="not numbers"):
        paste_crops(images, crops * float("nan"), places)
