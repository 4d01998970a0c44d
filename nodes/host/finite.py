"""No sampling ends in a black image without a word.

Host object used: ``WrappersMP.OUTER_SAMPLE``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...errors import InputError
from .weight_patches import KEY

_KEY = f"{KEY}_finite"


def require_finite(model: Any, where: str) -> None:
    """Let a cloned MODEL raise when a sampling ends in values that are not numbers.

    It reads the latent once, after the last step.
    """
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, _KEY)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, _KEY, Finite(where))


def check_finite(latent: Tensor, what: str, where: str) -> None:
    """Check a latent that a model or a VAE made.

    Args:
        what: What the values come from, with a verb ("the VAE encoded the image as").

    Raises:
        InputError: It holds values that are not numbers.
    """
    if not bool(latent.isfinite().all()):
        raise InputError(
            f"{what} values that are not numbers",
            where=where,
            fix="Lower the weights, check the files of the model and its adapter, or run the "
            "model in bf16 or fp32 if it overflows in fp16",
        )


class Finite:
    """OUTER_SAMPLE wrapper: raises InputError for a final latent that is not finite."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __call__(self, executor: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        latent = executor(*args, **kwargs)
        check_finite(latent, "the sampling ended in", self._where)
        return latent
