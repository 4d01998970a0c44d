"""Checks of state dicts, with errors that name the first missing, unknown or absurd weight."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeVar

from torch import Tensor, nn

from . import limits
from .errors import IncompatibleError, ModelFileError

T = TypeVar("T")
_AGAIN = "Download or convert the file again"


def check_state_dict(
    module: nn.Module,
    tensors: Mapping[str, Tensor],
    what: str,
    *,
    optional: Collection[str] = (),
) -> None:
    """Check that a state dict has exactly the names and shapes of a module.

    Args:
        module: The module, on any device including ``meta``.
        what: Name of the part for error messages ("the pose branch").
        optional: Names that may be missing.

    Raises:
        ModelFileError: A weight is missing or unknown; the first one is named.
        IncompatibleError: A weight has another shape.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in tensors and name not in optional]
    if missing:
        raise ModelFileError(
            f"{what} lacks {len(missing)} weights, the first is {missing[0]}", fix=_AGAIN
        )
    extra = [name for name in tensors if name not in own]
    if extra:
        raise ModelFileError(
            f"{what} contains {len(extra)} unknown weights, the first is {extra[0]}", fix=_AGAIN
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise IncompatibleError(
                f"{what} has a weight {name} of shape {list(tensor.shape)} "
                f"instead of {list(own[name].shape)}",
                fix="Use a file made for this kind of model",
            )
        if own[name].is_floating_point() and not tensor.is_floating_point():
            raise IncompatibleError(
                f"{what} has a weight {name} of type {tensor.dtype}", fix=_AGAIN
            )


def check_values(tensors: Mapping[str, Tensor], where: str) -> None:
    """Check that weights are finite and not absurdly large: they would give black images.

    Raises:
        ModelFileError: One is not; it is named.
    """
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        # 8-bit floats have no minimum; a NaN anywhere makes both ends NaN.
        low, high = (tensor.half() if tensor.element_size() == 1 else tensor).aminmax()
        bound = limits.WEIGHT if tensor.ndim > 1 else limits.STATISTIC
        if not (float(low) >= -bound and float(high) <= bound):
            raise ModelFileError(
                f"the weight {name} holds values from {float(low):g} to {float(high):g}, "
                "which are not finite or too large",
                where=where,
                fix=_AGAIN,
            )


def as_float32(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors in float32, integer ones as they are."""
    return {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}


def without_prefix(tensors: Mapping[str, T], prefix: str) -> dict[str, T]:
    """The entries whose names begin with a prefix, under the rest of their names."""
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
