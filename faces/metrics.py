"""Metrics of a generated image: identity, head pose, expression, changed pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import IncompatibleError, InputError
from .blendshapes import ARKIT_NAMES
from .encoders.names import same_encoder
from .face import HeadPose
from .head_pose import angle_between, matrix_from_xyz, zyx_to_xyz
from .identity import Identity

#: Added to both sums of :func:`expression_agreement`, so that the noise of two neutral faces does
#: not count as a difference.
_REST = 0.5


def likeness(one: Identity, other: Identity) -> float:
    """Cosine similarity of two identities, -1..1.

    Raises:
        IncompatibleError: They are of different encoders.
    """
    if not same_encoder(one.encoder, other.encoder):
        raise IncompatibleError(
            f"an identity by {one.encoder!r} cannot be compared with one by {other.encoder!r}",
            fix="Measure both with the same recogniser",
        )
    return float((one.vector @ other.vector).clamp(-1, 1))


@dataclass(frozen=True)
class PoseError:
    """Difference of a measured head pose from its target, in degrees.

    yaw, pitch, roll: Measured minus target, in Euler order xyz (``faces.head_pose``).
    turn: Geodesic distance of the two rotations.
    """

    yaw: float
    pitch: float
    roll: float
    turn: float

    @property
    def mean(self) -> float:
        """Mean absolute error of the three angles, as in ``docs/measuring.md``."""
        return (abs(self.yaw) + abs(self.pitch) + abs(self.roll)) / 3


def pose_error(measured: HeadPose, target: HeadPose) -> PoseError:
    """Compare a head pose with its target.

    Args:
        measured: Euler order zyx, degrees.
        target: Euler order xyz, degrees: the pose that the generator was conditioned on.

    Raises:
        InputError: An angle is not finite.
    """
    measured = zyx_to_xyz(measured)
    yaw, pitch, roll = (
        (have - want + 180) % 360 - 180 for have, want in zip(measured, target, strict=True)
    )
    turn = angle_between(matrix_from_xyz(measured), matrix_from_xyz(target))
    return PoseError(yaw, pitch, roll, turn)


@dataclass(frozen=True)
class ExpressionAgreement:
    """Agreement of two expressions.

    agreement: Ruzicka similarity of the blendshapes, 0..1: the sum of their minima over the sum of
        their maxima. A smile half as wide scores about one half.
    difference: Mean absolute difference of the blendshapes.
    most: The three blendshapes that differ most: name, and first minus second value.
    """

    agreement: float
    difference: float
    most: tuple[tuple[str, float], ...]


def expression_agreement(one: dict[str, float], other: dict[str, float]) -> ExpressionAgreement:
    """Compare the blendshapes of two faces; missing ones count as 0.

    Raises:
        InputError: One of them has no blendshapes at all.
    """
    if not one or not other:
        raise InputError(
            "the analyzer gives no expression",
            fix="Use one that does: the landmarker, or the tiny world's",
        )
    a, b = (torch.tensor([max(0.0, of.get(name, 0.0)) for name in ARKIT_NAMES])
            for of in (one, other))  # fmt: skip
    shared, all_ = float(torch.minimum(a, b).sum()), float(torch.maximum(a, b).sum())
    gap = a - b
    order = gap.abs().argsort(descending=True)[:3].tolist()
    return ExpressionAgreement(
        agreement=(shared + _REST) / (all_ + _REST),
        difference=float(gap.abs().mean()),
        most=tuple((ARKIT_NAMES[i], float(gap[i])) for i in order),
    )


@dataclass(frozen=True)
class Change:
    """Difference of two images outside of a mask.

    mean, largest: Mean and largest absolute difference, on the scale of 8-bit values (0..255).
    changed: Fraction of the compared values that differ at all, 0..1.
    psnr: In dB; infinite if nothing differs.
    outside: Fraction of the image that lies outside of the mask.
    """

    mean: float
    largest: float
    changed: float
    psnr: float
    outside: float


def change_outside(before: Tensor, after: Tensor, mask: Tensor | None = None) -> Change:
    """Compare two images where a mask is 0.

    Args:
        before, after: [B, C, H, W] in 0..1.
        mask: [B, H, W]; pixels above 0 are ignored. None compares all pixels.

    Raises:
        InputError: The shapes differ, or the mask covers everything.
    """
    if before.shape != after.shape or (
        mask is not None and mask.shape != (len(before), *before.shape[-2:])
    ):
        shapes = [list(t.shape) for t in (before, after, *([] if mask is None else [mask]))]
        raise InputError(
            f"images and mask of different shapes {', '.join(map(str, shapes))}",
            fix="Bring them to one size first",
        )
    size = (len(before), *before.shape[-2:])
    outside = torch.ones(size, dtype=torch.bool) if mask is None else mask <= 0
    if not bool(outside.any()):
        raise InputError(
            "the mask covers the whole image", fix="Use a mask with something outside it"
        )
    gap = (after.double() - before.double()).abs().movedim(1, -1)[outside]
    error = float(gap.square().mean())
    return Change(
        mean=255 * float(gap.mean()),
        largest=255 * float(gap.max()),
        changed=float((gap > 0).double().mean()),
        psnr=-10 * float(torch.tensor(error).log10()) if error else float("inf"),
        outside=float(outside.double().mean()),
    )
