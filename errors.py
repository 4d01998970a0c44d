"""Errors that a person can act on: one sentence that says what is wrong, where, and how to mend it.

Everything that a user can cause (a wrong image, a missing file, weights that do not fit) is
raised as one of these classes. The command line prints the sentence and ends with exit code 2;
ComfyUI shows it on the node. All other exceptions are faults of ours and keep their traceback.
"""

from __future__ import annotations


class FacePackError(ValueError):
    """A problem the user can mend, told in one sentence: ``what (where). fix``.

    Args:
        what: The trouble, as a clause without a full stop ("the image has no face").
        where: The file, input or layer it concerns; left out when empty.
        fix: What to do about it, as a clause that starts with a capital ("Use an image with one
        face").
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what.strip().rstrip(".")
        self.where = str(where).strip()
        self.fix = fix.strip().rstrip(".")
        text = f"{self.what} ({self.where})." if self.where else f"{self.what}."
        super().__init__(f"{text} {self.fix}." if self.fix else text)


class InputError(FacePackError):
    """A value or an image given by the user cannot be used, or a place cannot be written to."""


class ModelFileError(FacePackError):
    """A file of weights is missing, truncated or altered."""


class IncompatibleError(FacePackError):
    """Two things do not fit each other: shapes of weights, or vectors of different encoders."""
