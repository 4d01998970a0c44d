"""Seeds of training and of evaluation, which never overlap."""

from __future__ import annotations

from ..errors import InputError


def training_seed(index: int) -> int:
    """Seed of the training person (or image) ``index``, below 2**32."""
    return index + 1


def held_out_seed(seed: int, index: int) -> int:
    """Seed of the held-out person (or image) ``index`` of evaluation ``seed``, from 2**40 on.

    Raises:
        InputError: ``seed`` is negative or above 2**20.
    """
    if not 0 <= seed < 2**20:
        raise InputError(f"the seed {seed} is outside 0..{2**20 - 1}", fix="Choose another seed")
    return 2**40 + seed * 2**20 + index
