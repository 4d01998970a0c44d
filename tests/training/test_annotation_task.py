"""The annotation stage: what it learns from, and that it learns."""

from __future__ import annotations

from pathlib import Path

import torch
from comfyui_dense_face.demo.renderer.renderer import render
from comfyui_dense_face.dense_face.annotation.head import HeadConfig
from comfyui_dense_face.pipelines.base import load_base
from comfyui_dense_face.training.runs.loop import step_generator
from comfyui_dense_face.training.tiny.annotation import TINY_WIDTH, AnnotationTask
from comfyui_dense_face.training.tiny.annotation_data import (
    MAP_SIZE,
    AnnotationTruth,
    annotation_truth,
    load_depth,
    render_depth,
)
from comfyui_dense_face.training.tiny.data import Images, Latents, mirrored_heads, training_heads
from comfyui_dense_face.training.tiny.feature_cache import (
    FeatureCache,
    cache_features,
    load_features,
)
from tiny_random import write_base


def _images(count: int) -> Images:
    # In the middle of the image: a mirrored head is not moved to the other side.
    heads = training_heads(range(count)).replace(camera=torch.tensor([[0.0, 0.0, 1.0]]))
    drawn = render(heads)
    return Images(
        (drawn.rgb * 255).byte(), drawn.parts, drawn.head_mask.byte(), drawn.landmarks, heads
    )


def test_mirror_images_have_mirrored_labels() -> None:
    """As if the mirrored heads had been rendered."""
    shown = _images(2)
    truth = annotation_truth(shown, render(shown.heads, MAP_SIZE).depth[:1])
    labels = truth.labels(torch.tensor([0, 1, 2, 3]))
    assert labels.parts.shape == (4, MAP_SIZE, MAP_SIZE)
    mirrored = render(mirrored_heads(shown.heads), MAP_SIZE)
    assert torch.allclose(labels.landmarks[:2], shown.landmarks)
    apart = (labels.landmarks[2:] - mirrored.landmarks).abs()
    assert float(apart.mean()) < 0.01
    agree = (labels.parts[2:] == mirrored.parts.long()).double().mean()
    assert float(agree) > 0.95
    assert bool(labels.depth[[1, 3]].isnan().all())
    assert torch.equal(labels.depth[2], labels.depth[0].flip(-1))


def test_depth_completes_shards(tmp_path: Path) -> None:
    """Depth comes from the heads in the shards; files that are there are kept."""
    from dataclasses import fields

    from comfyui_dense_face.demo.people import Heads
    from comfyui_dense_face.storage import write_weights

    heads = training_heads(range(2))
    tensors = {f"heads.{f.name}": getattr(heads, f.name) for f in fields(Heads)}
    write_weights(tmp_path / "shard-0000.safetensors", tensors, {})
    render_depth(tmp_path, tmp_path / "depth", 2, workers=1)
    depth = load_depth(tmp_path / "depth", 2)
    assert torch.allclose(depth.float(), render(heads, MAP_SIZE).depth, atol=1e-3)
    write_weights(
        tmp_path / "depth" / "depth-0000.safetensors", {"depth": torch.zeros(2, 64, 64)}, {}
    )
    render_depth(tmp_path, tmp_path / "depth", 2, workers=1)
    assert float(load_depth(tmp_path / "depth", 2).abs().max()) == 0


def test_features_are_cached_and_reproducible(tmp_path: Path) -> None:
    """Features of images and mirror images; a file that exists is left alone, of another base
    made again.
    """
    base = load_base(write_base(tmp_path / "base.safetensors"))
    chance = torch.Generator().manual_seed(1)
    latents = Latents(_images(2), torch.randn(4, 4, 16, 16, generator=chance))

    def cached(stamp: str) -> FeatureCache:
        cache_features(base, latents, tmp_path, 1, stamp, per_shard=30)
        return load_features(tmp_path, 1)

    first = cached("this base")
    assert [f.shape[1:] for f in first.features] == [(128, 16, 16), (64, 16, 16)]
    assert set(first.image.tolist()) == {0, 1, 2, 3}
    assert len(first) == 90
    each, light, half = first.timestep.split(30)
    assert int(each.max()) > 700 and int(each.min()) < 10
    assert int(light.max()) < 100
    assert int(half.min()) >= 200 and int(half.max()) < 700
    file = tmp_path / "any-0000.safetensors"
    written = file.stat().st_mtime_ns
    cached("this base")
    assert file.stat().st_mtime_ns == written
    again = cached("another base")
    assert file.stat().st_mtime_ns != written
    assert torch.equal(again.features[1], first.features[1])


def test_the_head_learns() -> None:
    shown = _images(2)
    chance = torch.Generator().manual_seed(1)
    features = tuple(torch.randn(6, width, 16, 16, generator=chance) for width in (128, 64))
    cache = FeatureCache(torch.tensor([0, 1, 2, 3, 0, 1]), torch.arange(6) * 100, features)
    truth: AnnotationTruth = annotation_truth(shown, torch.zeros(0, MAP_SIZE, MAP_SIZE))
    task = AnnotationTask(HeadConfig((128, 64), TINY_WIDTH, 4, "ibug"), cache, truth, batch=3)
    first = task(step_generator(1, 0))
    again = task(step_generator(1, 0))
    assert next(iter(first)) == "loss" and float(first["depth"]) == 0
    assert torch.equal(first["loss"].detach(), again["loss"].detach())
    first["loss"].backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in task.head.parameters())
    assert sum(p.numel() for p in task.head.parameters()) <= 1_000_000
