"""Training images: mirror images keep their truth, held-out people stay out, shards come back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfyui_dense_face.demo.people import sample_heads
from comfyui_dense_face.demo.renderer.renderer import render
from comfyui_dense_face.demo.seeds import held_out_seed, training_seed
from comfyui_dense_face.errors import InputError
from comfyui_dense_face.faces.mirror import mirrored_landmarks, mirrored_parts
from comfyui_dense_face.training.tiny import data as demo_data
from comfyui_dense_face.training.tiny.augment import augment_pixels, augmented, faceless
from comfyui_dense_face.training.tiny.data import (
    Images,
    load_images,
    mirrored_heads,
    render_shards,
    training_heads,
)


def test_mirror_image_is_the_render_of_mirrored_parameters() -> None:
    heads = sample_heads([3, 4, 5])
    mirror = mirrored_heads(heads)
    mirror = mirror.replace(camera=heads.camera * torch.tensor([-1.0, 1.0, 1.0]))
    here, there = render(heads), render(mirror)
    assert torch.allclose(mirrored_landmarks(here.landmarks, "ibug"), there.landmarks, atol=0.02)
    same = (mirrored_parts(here.parts) == there.parts).float().mean()
    assert same > 0.97  # painted details such as freckles are not symmetric


def test_mirroring_twice_is_nothing() -> None:
    drawn = render(sample_heads([6]))
    assert torch.equal(mirrored_parts(mirrored_parts(drawn.parts)), drawn.parts)
    twice = mirrored_landmarks(mirrored_landmarks(drawn.landmarks, "ibug"), "ibug")
    assert torch.allclose(twice, drawn.landmarks, atol=1e-6)


def test_two_images_show_one_person() -> None:
    heads = training_heads(range(4))
    assert torch.equal(heads.identity[0], heads.identity[1])
    assert not torch.equal(heads.identity[1], heads.identity[2])
    assert not torch.equal(heads.angles[0], heads.angles[1])


def test_held_out_seeds_are_never_trained_on() -> None:
    assert held_out_seed(0, 0) > training_seed(2**32)
    assert held_out_seed(1, 5) != held_out_seed(2, 5)
    with pytest.raises(InputError, match="Choose another seed"):
        held_out_seed(-1, 0)


def test_shards_are_kept_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_data, "PER_SHARD", 2)
    for index in (0, 1):
        demo_data._render_shard((tmp_path, index))
    before = (tmp_path / "shard-0000.safetensors").stat().st_mtime_ns
    render_shards(tmp_path, 4, workers=1)  # all there: starts no process
    assert (tmp_path / "shard-0000.safetensors").stat().st_mtime_ns == before
    images = load_images(tmp_path, 3)
    assert len(images) == len(images.heads) == 3
    drawn = render(training_heads(range(3)))
    assert torch.equal(images.rgb, (drawn.rgb * 255).round().to(torch.uint8))


@pytest.fixture(scope="module")
def images() -> Images:
    heads = sample_heads([7, 8])
    drawn = render(heads)
    return Images(
        (drawn.rgb * 255).byte(),
        drawn.parts,
        drawn.head_mask.to(torch.uint8),
        drawn.landmarks,
        heads,
    )


def test_augmented_landmarks_stay_on_their_parts(images: Images) -> None:
    pick = torch.zeros(16, dtype=torch.long)
    batch = augmented(images, pick, torch.Generator().manual_seed(1))
    assert batch.rgb.shape == (16, 3, 128, 128)
    assert batch.rgb.min() >= 0 and batch.rgb.max() <= 1
    nose = (batch.landmarks[:, 30] * 32).long().clamp(0, 31)
    on_nose = batch.parts[torch.arange(16), nose[:, 1], nose[:, 0]] == 2
    assert on_nose.float().mean() > 0.9


def test_augmentation_repeats_with_its_generator(images: Images) -> None:
    pick = torch.tensor([0, 1])
    first, second = (
        augmented(images, pick, torch.Generator().manual_seed(2)).rgb for _ in range(2)
    )
    assert torch.equal(first, second)


def test_augmented_images_still_show_the_face_and_pass_gradients(images: Images) -> None:
    rgb = (images.rgb[:2].float() / 255).requires_grad_()
    augmented_rgb = augment_pixels(rgb, torch.Generator().manual_seed(2))
    assert augmented_rgb.shape == rgb.shape and 0 <= augmented_rgb.min() <= augmented_rgb.max() <= 1
    apart = (augmented_rgb - rgb).abs().mean()
    assert 0.01 < apart < 0.3
    augmented_rgb.mean().backward()
    assert rgb.grad is not None and (rgb.grad != 0).double().mean() > 0.5


def test_faceless_images_keep_their_shape(images: Images) -> None:
    rgb = images.rgb.float() / 255
    assert faceless(rgb, torch.Generator().manual_seed(3)).shape == rgb.shape
