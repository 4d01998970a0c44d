"""Fitting a similarity transform between two sets of points (Umeyama 1991).

In 2D it aligns faces, in 3D it estimates the head pose (weighted orthogonal Procrustes).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError


@dataclass(frozen=True, eq=False)
class Similarity:
    """y = scale · rotation @ x + shift.

    scale > 0; rotation [D, D] with determinant 1; shift [D]; float64.
    """

    scale: float
    rotation: Tensor
    shift: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """Map points [N, D], in float64."""
        return self.scale * points.double() @ self.rotation.T + self.shift

    def inverse(self) -> Similarity:
        """The inverse transform."""
        rotation = self.rotation.T
        return Similarity(1 / self.scale, rotation, -(rotation @ self.shift) / self.scale)

    def matrix(self) -> Tensor:
        """[D, D + 1]: scaled rotation and shift side by side."""
        return torch.cat([self.scale * self.rotation, self.shift[:, None]], 1)


def fit_similarity(source: Tensor, target: Tensor, weights: Tensor | None = None) -> Similarity:
    """The similarity that maps ``source`` to ``target`` in the sense of weighted least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    equations 34 to 43, with a weight for each point in all sums.

    Args:
        source, target: [N, D].
        weights: [N], not negative; all equal if None.

    Raises:
        InputError: The points are not finite, too few, all coincide, or are mirrored.
    """
    x, y = source.detach().cpu().double(), target.detach().cpu().double()
    w = torch.ones(len(x), dtype=torch.float64) if weights is None else weights.double()
    w = w / w.sum()
    middle_x, middle_y = w @ x, w @ y
    x, y = x - middle_x, y - middle_y
    variance = float((w[:, None] * x * x).sum())
    target_variance = float((w[:, None] * y * y).sum())
    if not (variance > 0 and target_variance > 0 and len(x) >= x.shape[1]):  # also catches NaN
        raise InputError(
            "the points to align are not finite or all coincide",
            fix="Use another image, or give other points",
        )
    u, s, vt = torch.linalg.svd((w[:, None] * y).T @ x)
    signs = torch.ones_like(s)
    # Keeps the determinant at 1: a rotation without a reflection.
    signs[-1] = torch.sign(torch.det(u) * torch.det(vt))
    rotation = (u * signs) @ vt
    scale = float((s * signs).sum()) / variance
    if not scale > 0:
        raise InputError(
            "the points to be aligned are a mirror image of their targets",
            fix="Check the order of the points",
        )
    return Similarity(scale, rotation, middle_y - scale * rotation @ middle_x)
