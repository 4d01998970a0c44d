"""Collecting what a user has to put right, so that one run names all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import FacePackError, InputError


class Problems:
    """Errors of several inputs.

    Functions that are given one say in their docstring what they collect, and go on without what
    failed.
    """

    def __init__(self) -> None:
        self._found: dict[str, FacePackError] = {}

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep an error of the block for :meth:`check`; equal ones are kept once."""
        try:
            yield
        except FacePackError as error:
            self._found.setdefault(str(error), error)

    def check(self) -> None:
        """Raise what was collected.

        Raises:
            FacePackError: The error itself if it is the only one; else InputError naming all.
        """
        errors = list(self._found.values())
        if len(errors) == 1:
            raise errors[0]
        if errors:
            each = "; ".join(f"{n}) {_in_list(error)}" for n, error in enumerate(errors, 1))
            raise InputError(f"{len(errors)} inputs cannot be used: {each}")


def _in_list(error: FacePackError) -> str:
    where = f" ({error.where})" if error.where else ""
    return f"{error.what}{where}" + (f": {error.fix}" if error.fix else "")
