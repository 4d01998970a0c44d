"""Errors that a user can act on: what is wrong, where, and how to fix it.

Everything that a user can cause (an unsuitable image, a missing file, incompatible weights) is
raised as one of these classes. The command line prints the message and exits with code 2; ComfyUI
shows it on the node. All other exceptions are bugs and keep their traceback.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 2000
"""Letters of a part of a message: names from files may be of any length."""


class FacePackError(ValueError):
    """A problem that the user can fix; the message is ``what (where). fix``.

    Args:
        what: The problem, as a clause without a full stop ("the image has no face").
        where: The file, input or layer concerned; omitted when empty.
        fix: What to do, as a clause that starts with a capital letter ("Use an image with one
            face").
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = _plain(what).rstrip(".")
        self.where = _plain(str(where))
        self.fix = _plain(fix).rstrip(".")
        text = f"{self.what} ({self.where})." if self.where else f"{self.what}."
        super().__init__(f"{text} {self.fix}." if self.fix else text)


class InputError(FacePackError):
    """An input value or image cannot be used, or a file cannot be written."""


class ModelFileError(FacePackError):
    """A file of weights is missing, truncated or altered."""


class IncompatibleError(FacePackError):
    """Two things are incompatible: shapes of weights, or vectors of different encoders."""


def require_within(name: str, value: float | None, low: float, high: float) -> None:
    """Raise InputError unless a number is in the range; None, an option not given, passes."""
    if value is not None and not low <= value <= high:  # NaN is in no range
        raise InputError(
            f"{name} is out of range",
            where=f"{value:g}" if isinstance(value, float) else str(value),
            fix=f"Give a number from {low} to {high}",
        )


@contextmanager
def refuse_with(error: FacePackError) -> Iterator[None]:
    """Raise ``error`` for whatever a broken or hostile file makes a library raise.

    What the block says about the file itself is more precise and passes: for a ModelFileError that
    and IncompatibleError, for an InputError that. The other kind becomes ``error``: numbers out of
    range that a model file states are its fault, too.
    """
    passes = InputError if isinstance(error, InputError) else (ModelFileError, IncompatibleError)
    try:
        yield
    except passes:
        raise
    except Exception as cause:  # a broken or hostile file may raise anything
        raise error from cause


def _plain(text: str) -> str:
    """One line without control characters: names from files may hold any."""
    line = "".join(
        c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text
    ).strip()
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} ..."
