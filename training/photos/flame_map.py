"""Fits the linear map from blendshapes to FLAME's numbers: ridge regression, tested on people
that it was not fitted to.

Blendshapes that hardly vary in the photographs get no effect: their weights would be noise, and
words and sliders use them at full strength. Source: docs/reference/published_weights.md B1, B2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ...faces.blendshapes import ARKIT_NAMES
from ...faces.flame import COEFFICIENTS, JAW
from ...sfsr.arc2face.flame_map import FlameMap

FEWEST = 100
"""Faces, below which nothing is fitted; a few thousand are better."""
FOLDS = 5
"""Of the people; the first is held out, the others choose the penalty."""
_STILL = 0.01
"""Standard deviation of a blendshape that hardly varies."""
_PENALTIES = [10 ** (step / 2) for step in range(-12, 1)]


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted map, and its errors on the people held out.

    flame_map: Fitted to everybody. penalty: The ridge's, per face.
    r2_expression, r2_jaw: Share of the variance that is explained, of all coefficients together.
    error_expression: Mean absolute error in standard deviations. error_jaw: In degrees.
    held_out: Number of faces. still: Names of the blendshapes without effect.
    """

    flame_map: FlameMap
    penalty: float
    r2_expression: float
    r2_jaw: float
    error_expression: float
    error_jaw: float
    held_out: int
    still: tuple[str, ...]


def fit_flame_map(blendshapes: Tensor, flame: Tensor, people: Sequence[int]) -> Fit:
    """The map that predicts expression and jaw with the least squared error.

    Args:
        blendshapes: [N, 51] in 0..1.
        flame: [N, 55] of the same faces.
        people: Number of the person of each face: nobody is both fitted to and held out.

    Raises:
        InputError: There are too few faces or people, or all faces look alike.
    """
    if len(blendshapes) < FEWEST or len(set(people)) < FOLDS:
        raise InputError(
            f"{len(blendshapes)} faces of {len(set(people))} people are too few for a map",
            fix=f"Give {FEWEST} or more, of {FOLDS} people or more; a few thousand are better",
        )
    x = blendshapes.double()
    y = torch.cat([flame[:, :COEFFICIENTS], flame[:, -JAW:]], 1).double()
    varies = x.std(0) > _STILL
    if not bool(varies.any()):
        raise InputError("all faces have the same expression", fix="Give other photographs")
    x = x * varies
    fold = _folds(people)
    rest = fold > 0
    penalty = min(_PENALTIES, key=lambda one: _crossed_error(x[rest], y[rest], fold[rest], one))
    weight, bias = _ridge(x[rest], y[rest], penalty)
    truth, error = y[~rest], x[~rest] @ weight + bias - y[~rest]
    expression, jaw = slice(COEFFICIENTS), slice(COEFFICIENTS, None)
    weight, bias = _ridge(x, y, penalty)
    return Fit(
        FlameMap(weight.float(), bias.float()),
        penalty,
        r2_expression=_explained(error[:, expression], truth[:, expression]),
        r2_jaw=_explained(error[:, jaw], truth[:, jaw]),
        error_expression=float(error[:, expression].abs().mean()),
        error_jaw=math.degrees(float(error[:, jaw].abs().mean())),
        held_out=int((~rest).sum()),
        still=tuple(n for n, one in zip(ARKIT_NAMES, varies.tolist(), strict=True) if not one),
    )


def _folds(people: Sequence[int]) -> Tensor:
    """The fold [N] of each face; the same for the same people, whatever the order."""
    known = sorted(set(people))
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0)).tolist()
    fold = {person: place % FOLDS for person, place in zip(known, order, strict=True)}
    return torch.tensor([fold[person] for person in people])


def _ridge(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Weight and bias; the bias is not penalised."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    gram = x.T @ x / len(x) + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, x.T @ y / len(x))
    return weight, mean_y - mean_x @ weight


def _crossed_error(x: Tensor, y: Tensor, fold: Tensor, penalty: float) -> float:
    total = 0.0
    for number in range(1, FOLDS):
        out = fold == number
        weight, bias = _ridge(x[~out], y[~out], penalty)
        total += float((x[out] @ weight + bias - y[out]).square().sum())
    return total


def _explained(error: Tensor, truth: Tensor) -> float:
    spread = float((truth - truth.mean(0)).square().sum())
    return 1 - float(error.square().sum()) / max(spread, torch.finfo(truth.dtype).tiny)
