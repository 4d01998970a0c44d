"""Losses of the annotation head: zero for the truth, missing labels ignored."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comfyui_dense_face.dense_face.annotation.head import AnnotationMaps
from comfyui_dense_face.dense_face.annotation.loss import (
    NO_PART,
    AnnotationLabels,
    annotation_losses,
    small_parts,
)
from torch import Tensor

SIDE = 16


def _maps() -> AnnotationMaps:
    chance = torch.Generator().manual_seed(1)

    def rand(*shape: int) -> Tensor:
        return torch.randn(shape, generator=chance).requires_grad_()

    return AnnotationMaps(rand(2, SIDE, SIDE), rand(2, 10, SIDE, SIDE), rand(2, 5, SIDE, SIDE))


def _labels() -> AnnotationLabels:
    chance = torch.Generator().manual_seed(2)
    return AnnotationLabels(
        depth=torch.rand(2, SIDE, SIDE, generator=chance),
        parts=torch.randint(10, (2, SIDE, SIDE), generator=chance),
        landmarks=torch.rand(2, 5, 2, generator=chance),
    )


def _gradients(maps: AnnotationMaps, labels: AnnotationLabels) -> list[Tensor]:
    loss = annotation_losses(maps, labels)["loss"]
    inputs = [maps.depth, maps.part_logits, maps.heat_logits]
    return list(torch.autograd.grad(loss, inputs, allow_unused=True))


def test_the_truth_costs_least() -> None:
    labels = _labels()
    cells = (torch.arange(SIDE) + 0.5) / SIDE
    apart = (cells - labels.landmarks[..., :1]).square()[:, :, None]
    apart = apart + (cells - labels.landmarks[..., 1:]).square()[..., None]
    one_hot = torch.nn.functional.one_hot(labels.parts, 10).permute(0, 3, 1, 2)
    right = AnnotationMaps(labels.depth, 30.0 * one_hot, -apart * SIDE**2 / 2)
    best, other = annotation_losses(right, labels), annotation_losses(_maps(), labels)
    assert next(iter(best)) == "loss"
    assert float(best["depth"]) == 0
    assert float(best["parts"]) < 1e-6 and float(best["overlap"]) < 1e-6
    assert float(best["points"]) < 0.02
    assert all(float(best[name]) < float(other[name]) for name in best)


@pytest.mark.parametrize("gap", ["depth", "parts", "landmarks"])
def test_missing_labels_train_nothing(gap: str) -> None:
    """One image lacks a label: its map gets no gradient, the other image's gets a finite one."""
    labels = _labels()
    changed = getattr(labels, gap).clone()
    changed[0] = NO_PART if gap == "parts" else float("nan")
    place = ["depth", "parts", "landmarks"].index(gap)
    gradient = _gradients(_maps(), replace(labels, **{gap: changed}))[place]
    assert bool((gradient[0] == 0).all())
    assert bool(gradient[1].isfinite().all()) and bool((gradient[1] != 0).any())


def test_nothing_known_is_no_loss() -> None:
    labels = AnnotationLabels(
        depth=torch.full((2, SIDE, SIDE), float("nan")),
        parts=torch.full((2, SIDE, SIDE), NO_PART),
        landmarks=torch.full((2, 5, 2), float("nan")),
    )
    maps = _maps()
    assert float(annotation_losses(maps, labels)["loss"]) == 0
    assert all(bool((g == 0).all()) for g in _gradients(maps, labels))


def test_points_outside_the_image_pull_to_its_edge() -> None:
    labels = _labels()
    outside = labels.landmarks.clone()
    outside[0, 0] = torch.tensor([1.7, -0.4])
    losses = annotation_losses(_maps(), replace(labels, landmarks=outside))
    assert bool(torch.isfinite(losses["loss"]))
    edge = outside.clamp(0, 1)
    same = annotation_losses(_maps(), replace(labels, landmarks=edge))
    assert float(losses["loss"]) == pytest.approx(float(same["loss"]))


def test_small_parts_take_the_majority() -> None:
    parts = torch.zeros(1, 8, 8, dtype=torch.uint8)
    parts[0, :2, :2] = 3
    parts[0, 2, 2] = 4
    small = small_parts(parts, 4)
    assert small.dtype == torch.uint8
    assert small[0, 0, 0] == 3 and small[0, 1, 1] == 0


def test_half_a_cell_is_enough_for_a_small_part() -> None:
    """As in the release's data: a brow of half a cell is a brow, a quarter of one is skin."""
    parts = torch.ones(1, 4, 4, dtype=torch.uint8)
    parts[0, 0] = 5
    parts[0, 2, 0] = 6
    assert small_parts(parts, 2).tolist() == [[[5, 5], [1, 1]]]


def test_a_part_that_is_missed_costs_overlap() -> None:
    """Ten cells of brow that are called skin: hardly any cross-entropy, a whole class's overlap."""
    parts = torch.ones(1, 64, 64, dtype=torch.int64)
    parts[0, 8, 8:18] = 5
    nowhere = torch.full((1, 68, 2), float("nan"))
    labels = AnnotationLabels(torch.full((1, 64, 64), float("nan")), parts, nowhere)
    skin = torch.zeros(1, 10, 64, 64)
    skin[:, 1] = 12.0
    right = 12.0 * torch.nn.functional.one_hot(parts, 10).movedim(-1, 1)
    seen = [
        annotation_losses(AnnotationMaps(torch.zeros(1, 64, 64), logits, torch.zeros(1, 68, 8, 8)),
                          labels) for logits in (skin, right)
    ]  # fmt: skip
    assert float(seen[0]["parts"]) < 0.04
    assert float(seen[0]["overlap"] - seen[1]["overlap"]) > 0.08
