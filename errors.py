"""Errors that a user can act on: what is wrong, where, and how to fix it.

Everything that a user can cause (an unsuitable image, a missing file, incompatible weights) is
raised as one of these classes. The command line prints the message and exits with code 2; ComfyUI
shows it on the node. All other exceptions are bugs and keep their traceback.
"""

from __future__ import annotations


class FacePackError(ValueError):
    """A problem that the user can fix; the message is ``what (where). fix``.

    Args:
        what: The problem, as a clause without a full stop ("the image has no face").
        where: The file, input or layer concerned; omitted when empty.
        fix: What to do, as a clause that starts with a capital letter ("Use an image with one
            face").
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what.strip().rstrip(".")
        self.where = str(where).strip()
        self.fix = fix.strip().rstrip(".")
        text = f"{self.what} ({self.where})." if self.where else f"{self.what}."
        super().__init__(f"{text} {self.fix}." if self.fix else text)


class InputError(FacePackError):
    """An input value or image cannot be used, or a file cannot be written."""


class ModelFileError(FacePackError):
    """A file of weights is missing, truncated or altered."""


class IncompatibleError(FacePackError):
    """Two things are incompatible: shapes of weights, or vectors of different encoders."""
