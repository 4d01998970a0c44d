"""Inputs and outputs that several nodes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io

ANALYZER_TIP = "From Load Face Analyzer or Load Tiny-World Analyzer."
YAW, PITCH, ROLL = "yaw", "pitch", "roll"
ANGLES = {
    YAW: "Degrees; positive turns the nose to the left of the image.",
    PITCH: "Degrees; positive raises the nose.",
    ROLL: "Degrees; positive turns the head clockwise as you see it.",
}
"""Tooltips of the three angles of a head, in their usual order."""


def between(
    low: float, high: float, *, default: float, step: float | None = None
) -> dict[str, Any]:
    """The arguments of an INT or FLOAT input that takes low..high."""
    limits = {"default": default, "min": low, "max": high}
    return limits if step is None else {**limits, "step": step}


def choice(name: str, options: Sequence[str], tooltip: str) -> Any:
    """COMBO, the first option by default."""
    return io.Combo.Input(name, options=list(options), default=options[0], tooltip=tooltip)


def output(kind: Any, name: str, tooltip: str) -> Any:
    """An output of a type of the host or of ``nodes.sockets``, displayed under its own name."""
    return kind.Output(name, display_name=name, tooltip=tooltip)


def angle(name: str, default: float = 0.0, limit: float = 90.0, prefix: str = "") -> Any:
    """FLOAT in degrees, -limit..limit.

    name: A key of :data:`ANGLES`; the id is ``prefix`` and this name.
    """
    return io.Float.Input(
        prefix + name, default=default, min=-limit, max=limit, step=0.5, tooltip=ANGLES[name]
    )


def percent(name: str, default: float, does: str, *, optional: bool = False) -> Any:
    """FLOAT 0..1, a fraction of the denoising.

    does: What happens after it ("the face starts to act").
    """
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=1.0,
        step=0.001,
        optional=optional,
        tooltip=f"Fraction of the denoising after which {does}.",
    )


def feather_pixels(default: float = 0.0, tooltip: str = "") -> Any:
    """FLOAT, the width in pixels of a mask's soft edge."""
    return io.Float.Input(
        "feather",
        **between(0.0, 256.0, step=1.0, default=default),
        tooltip=tooltip or "Width in pixels of the soft edge, which lies inside the mask.",
    )


def guider_output() -> Any:
    """GUIDER."""
    return output(io.Guider, "guider", "For SamplerCustomAdvanced.")
