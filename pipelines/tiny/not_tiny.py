"""The error for images that show no head of the tiny world, such as photographs."""

from __future__ import annotations

from ...errors import InputError

FOR_PHOTOGRAPHS = (
    "Use an image that denseface render made; for a photograph give a Stable Diffusion 1.5 "
    "checkpoint as --base"
)


def not_tiny_world(where: str) -> InputError:
    """The error to raise.

    Args:
        where: The file, or the image's role.
    """
    return InputError(
        "no head was found: this is not an image of the tiny world, or its head is too small",
        where=where,
        fix=FOR_PHOTOGRAPHS,
    )
