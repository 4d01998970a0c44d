"""What the annotation head is trained with; a label that is missing trains nothing.

The weights (:data:`WEIGHTS`) bring the terms to one size. Parts are trained twice over: by the
cross-entropy of each cell, and by the overlap of each class (soft Dice, arXiv 1606.04797), in which
a brow of ten cells counts as much as the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...faces.parts import PART_NAMES
from .annotations import cell_centres, mean_places
from .head import AnnotationMaps

#: Unknown class in part labels.
NO_PART = -1
WEIGHTS = {"depth": 4.0, "parts": 4.0, "overlap": 1.0, "heat": 0.2, "points": 20.0}
_BACKGROUND_DEPTH = 0.25
"""How much a cell of the background counts beside one of a head: it is easy and everywhere."""
_HEAT_SPREAD = 1.0
"""Standard deviation in cells of the heat that is aimed at."""


@dataclass(frozen=True, eq=False)
class AnnotationLabels:
    """The truth of B images at the size of the maps.

    depth: [B, H, W], -1 near .. 1 background; NaN where it is not known.
    parts: [B, H, W] int64, classes of ``faces.parts``; :data:`NO_PART` where not known.
    landmarks: [B, K, 2] as fractions of the image; NaN where not known.
    """

    depth: Tensor
    parts: Tensor
    landmarks: Tensor


def small_parts(parts: Tensor, size: int) -> Tensor:
    """Part masks [B, S, S] as cells [B, size, size], uint8: the class that fills most of a cell.

    Half a cell is enough, as in the release's data (docs/reference/dense_face.md B1), where a cell
    may have two classes then; here the later one of ``faces.parts`` has it: brow or lip before
    skin, skin before background.
    """
    best = torch.full((len(parts), size, size), -1.0)
    found = torch.zeros(len(parts), size, size, dtype=torch.uint8)
    for number in range(len(PART_NAMES)):
        share = F.adaptive_avg_pool2d((parts == number).float(), size)
        wins = (share > 0) & (share >= best)
        found[wins] = number
        best = torch.maximum(best, share)
    return found


def annotation_losses(maps: AnnotationMaps, labels: AnnotationLabels) -> dict[str, Tensor]:
    """``loss`` first, then its terms; 0 where all labels are missing.

    depth is the mean absolute error; parts the cross-entropy; overlap one minus the soft Dice of
    the classes over the batch, their mean; heat the cross-entropy between the softmax of the heat
    and a Gaussian around the truth; points the mean absolute error of the decoded points as
    fractions of the image.
    """
    depth, known = _without_gaps(labels.depth)
    counts = known * torch.where(depth < 1, 1.0, _BACKGROUND_DEPTH)
    parts, overlap = part_losses(maps.part_logits.float(), labels.parts)
    terms = {
        "depth": _mean_where(counts, (maps.depth.float() - depth).abs()),
        "parts": parts,
        "overlap": overlap,
        **_landmarks(maps.heat_logits.float(), labels.landmarks),
    }
    loss = torch.stack([WEIGHTS[name] * term for name, term in terms.items()]).sum()
    return {"loss": loss, **terms}


def _without_gaps(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels with 0 for NaN, and where they are known: a NaN must not get near a gradient."""
    return labels.nan_to_num(0.0), ~labels.isnan()


def _mean_where(counts: Tensor, errors: Tensor) -> Tensor:
    """Mean of the errors by how much each counts; 0, with a gradient of 0, where none does."""
    return (errors * counts).sum() / counts.sum().clamp(min=1)


def part_losses(logits: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the cells, and one minus the soft Dice of the classes over the batch.

    Args:
        logits: [B, 10, H, W].
        parts: [B, H, W] int64, classes of ``faces.parts``; :data:`NO_PART` where not known.
    """
    known = parts != NO_PART
    errors = F.cross_entropy(logits, parts, ignore_index=NO_PART, reduction="none")
    chances = logits.softmax(1) * known[:, None]
    true = F.one_hot(parts.clamp(min=0), logits.shape[1]).movedim(-1, 1) * known[:, None]
    both, sizes = (chances * true).sum((0, 2, 3)), (chances + true).sum((0, 2, 3))
    # One cell more on either side: a class that is nowhere, in truth and reading, is no error.
    dice = (2 * both + 1) / (sizes + 1)
    return _mean_where(known, errors), 1 - dice.mean()


def _landmarks(heat: Tensor, truth: Tensor) -> dict[str, Tensor]:
    height, width = heat.shape[-2:]
    truth, known = _without_gaps(truth)
    # Outside the image there is no heat to aim at: the nearest edge is aimed at instead.
    inside = truth.clamp(0, 1)
    logs = heat.flatten(2).log_softmax(-1).unflatten(-1, (height, width))
    # The Gaussian is one along x times one along y: the whole of it is never built.
    across = (logs @ _aim(inside[..., 0], width)[..., None])[..., 0]
    crossed = -(_aim(inside[..., 1], height) * across).sum(-1)
    points = mean_places(logs.exp())
    return {
        "heat": _mean_where(known.all(-1), crossed),
        "points": _mean_where(known, (points - inside).abs()),
    }


def _aim(places: Tensor, cells: int) -> Tensor:
    """[B, K] in 0..1 -> [B, K, cells]: Gaussians along one side that add up to 1."""
    apart = (cell_centres(cells).to(places) - places[..., None]) * cells
    return (-apart.square() / (2 * _HEAT_SPREAD**2)).softmax(-1)
