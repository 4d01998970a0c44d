"""Losses of the annotation head; missing labels are ignored.

The weights (:data:`WEIGHTS`) bring the terms to a similar scale. Parts have two terms: the
cross-entropy of each cell, and the overlap of each class (soft Dice, arXiv 1606.04797), in which a
brow of ten cells counts as much as the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.parts import PART_NAMES
from .annotations import cell_centres, expected_positions
from .head import AnnotationMaps

#: Part label of cells whose class is unknown.
NO_PART = -1
WEIGHTS = {"depth": 4.0, "parts": 4.0, "overlap": 1.0, "heat": 0.2, "points": 20.0}
_BACKGROUND_DEPTH = 0.25
"""Weight of a background cell relative to one of the head: they are easy and many."""
_HEAT_SIGMA = 1.0
"""Standard deviation of the target heat, in cells."""


@dataclass(frozen=True, eq=False)
class AnnotationLabels:
    """Ground truth for B images at the size of the maps.

    depth: [B, H, W], -1 near .. 1 background; NaN where unknown.
    parts: [B, H, W] int64, classes of ``faces.parts``; :data:`NO_PART` where unknown.
    landmarks: [B, K, 2] as fractions of the image; NaN where unknown.
    """

    depth: Tensor
    parts: Tensor
    landmarks: Tensor


def small_parts(parts: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Part masks [B, H, W] downsampled to ``size``, uint8: the largest class per cell.

    Half a cell is enough, as in the release's data (docs/reference/dense_face.md B1). Where two
    classes tie, the later one of ``faces.parts`` wins: brow or lip over skin, skin over background.
    """
    height, width = (size, size) if isinstance(size, int) else size
    best = torch.full((len(parts), height, width), -1.0)
    found = torch.zeros(len(parts), height, width, dtype=torch.uint8)
    for number in range(len(PART_NAMES)):
        fraction = F.adaptive_avg_pool2d((parts == number).float(), (height, width))
        wins = (fraction > 0) & (fraction >= best)
        found[wins] = number
        best = torch.maximum(best, fraction)
    return found


def annotation_losses(maps: AnnotationMaps, labels: AnnotationLabels) -> dict[str, Tensor]:
    """The weighted sum ``loss``, then its unweighted terms; 0 where all labels are missing.

    depth: mean absolute error; parts: cross-entropy; overlap: 1 - soft Dice, averaged over classes;
    heat: cross-entropy with a Gaussian around the true landmark; points: mean absolute error of the
    decoded points, as fractions of the image.
    """
    depth, known = _without_gaps(labels.depth)
    weights = known * torch.where(depth < 1, 1.0, _BACKGROUND_DEPTH)
    parts, overlap = part_losses(maps.part_logits.float(), labels.parts)
    terms = {
        "depth": _mean_where(weights, (maps.depth.float() - depth).abs()),
        "parts": parts,
        "overlap": overlap,
        **_landmarks(maps.heat_logits.float(), labels.landmarks),
    }
    loss = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
    return {"loss": loss, **terms}


def _without_gaps(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels with 0 for NaN, and where they are known: NaN must not enter a gradient."""
    return labels.nan_to_num(0.0), ~labels.isnan()


def _mean_where(weights: Tensor, errors: Tensor) -> Tensor:
    """Weighted mean of the errors; 0, with zero gradient, where all weights are 0."""
    return (errors * weights).sum() / weights.sum().clamp(min=1)


def part_losses(logits: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the cells, and 1 - soft Dice averaged over the classes.

    Args:
        logits: [B, 10, H, W].
        parts: [B, H, W] int64, classes of ``faces.parts``; :data:`NO_PART` where unknown.
    """
    known = parts != NO_PART
    errors = F.cross_entropy(logits, parts, ignore_index=NO_PART, reduction="none")
    probabilities = logits.softmax(1) * known[:, None]
    true = F.one_hot(parts.clamp(min=0), logits.shape[1]).movedim(-1, 1) * known[:, None]
    both, sizes = (probabilities * true).sum((0, 2, 3)), (probabilities + true).sum((0, 2, 3))
    # One extra cell above and below: a class absent from truth and prediction costs nothing.
    dice = (2 * both + 1) / (sizes + 1)
    return _mean_where(known, errors), 1 - dice.mean()


def _landmarks(heat: Tensor, truth: Tensor) -> dict[str, Tensor]:
    height, width = heat.shape[-2:]
    truth, known = _without_gaps(truth)
    # For landmarks outside the image the target is the nearest point of its edge.
    inside = truth.clamp(0, 1)
    logs = heat.flatten(2).log_softmax(-1).unflatten(-1, (height, width))
    # The Gaussian is separable, so the 2-D target is never materialised.
    across = (logs @ _gaussians(inside[..., 0], width)[..., None])[..., 0]
    crossed = -(_gaussians(inside[..., 1], height) * across).sum(-1)
    points = expected_positions(logs.exp())
    return {
        "heat": _mean_where(known.all(-1), crossed),
        "points": _mean_where(known, (points - inside).abs()),
    }


def _gaussians(positions: Tensor, cells: int) -> Tensor:
    """Positions [B, K] in 0..1 -> Gaussians [B, K, cells] along one side that sum to 1."""
    apart = (cell_centres(cells).to(positions) - positions[..., None]) * cells
    return (-apart.square() / (2 * _HEAT_SIGMA**2)).softmax(-1)
