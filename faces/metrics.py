"""Numbers about a finished image: who it shows, how it looks, what has changed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import IncompatibleError, InputError
from .blendshapes import ARKIT_NAMES
from .face import HeadPose
from .head_pose import angle_between, matrix_from_xyz, zyx_to_xyz
from .identity import Identity

#: Movement that even a resting face is said to make: without it two resting faces would be compared
#: by their noise.
_REST = 0.5


def likeness(one: Identity, other: Identity) -> float:
    """Cosine of two identities, -1..1; of one encoder.

    Raises:
        IncompatibleError: They were made by different encoders.
    """
    if one.encoder != other.encoder:
        raise IncompatibleError(
            f"an identity by {one.encoder!r} cannot be compared with one by {other.encoder!r}",
            fix="Measure both with the same recogniser",
        )
    return float((one.vector @ other.vector).clamp(-1, 1))


@dataclass(frozen=True)
class PoseError:
    """How far a head is from the pose that was asked for, in degrees.

    yaw, pitch, roll: Measured minus wanted, as drawn (``faces.head_pose``).
    turn: The single turn between both.
    """

    yaw: float
    pitch: float
    roll: float
    turn: float

    @property
    def mean(self) -> float:
        """Mean absolute error of the three angles, the measure of ``docs/measuring.md``."""
        return (abs(self.yaw) + abs(self.pitch) + abs(self.roll)) / 3


def pose_error(measured: HeadPose, wanted: HeadPose) -> PoseError:
    """Compare a pose as measured with one as drawn (what generators are given).

    Raises:
        InputError: An angle is not finite.
    """
    seen = zyx_to_xyz(measured)
    yaw, pitch, roll = (
        (have - want + 180) % 360 - 180 for have, want in zip(seen, wanted, strict=True)
    )
    turn = angle_between(matrix_from_xyz(seen), matrix_from_xyz(wanted))
    return PoseError(yaw, pitch, roll, turn)


@dataclass(frozen=True)
class ExpressionAgreement:
    """How far two expressions agree.

    agreement: Movement that both share over movement that either makes, 0..1 (Ruzicka's
        similarity of the blendshapes): half as wide a smile is about one half.
    difference: Mean absolute difference of the blendshapes.
    most: The three blendshapes that differ most: name and by how much the first is above.
    """

    agreement: float
    difference: float
    most: tuple[tuple[str, float], ...]


def expression_agreement(one: dict[str, float], other: dict[str, float]) -> ExpressionAgreement:
    """Compare the blendshapes of two faces; names that one of them lacks count as 0.

    Raises:
        InputError: One has no blendshapes at all.
    """
    if not one or not other:
        raise InputError(
            "the analyzer measures no expression",
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
    """What differs between two images outside a mask, in steps of 8-bit values (0..255).

    mean, largest: Of the absolute differences.
    share: Of the values looked at that differ at all, 0..1.
    psnr: In dB; infinite where nothing differs.
    outside: Share of the image that lies outside the mask.
    """

    mean: float
    largest: float
    share: float
    psnr: float
    outside: float


def change_outside(before: Tensor, after: Tensor, mask: Tensor | None = None) -> Change:
    """Compare two images where a mask is 0.

    Args:
        before, after: [B, C, H, W] in 0..1.
        mask: [B, H, W]; what is above 0 may change and is not looked at. All counts without it.

    Raises:
        InputError: The shapes differ, or the mask leaves nothing.
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
        share=float((gap > 0).double().mean()),
        psnr=-10 * float(torch.tensor(error).log10()) if error else float("inf"),
        outside=float(outside.double().mean()),
    )
