"""Inputs and outputs that several nodes have in common."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

YAW, PITCH, ROLL = "yaw", "pitch", "roll"
ANGLES = {
    YAW: "Degrees; positive turns the nose to the left of the image.",
    PITCH: "Degrees; positive raises the nose.",
    ROLL: "Degrees; positive turns the head clockwise as you see it.",
}
"""Tooltips of the three angles of a head, in their usual order."""


def angle(name: str, default: float = 0.0, limit: float = 90.0, prefix: str = "") -> Any:
    """FLOAT in degrees, -limit..limit.

    name: A key of :data:`ANGLES`; the id is ``prefix`` and this name.
    """
    return io.Float.Input(
        prefix + name, default=default, min=-limit, max=limit, step=0.5, tooltip=ANGLES[name]
    )


def percent(name: str, default: float, does: str) -> Any:
    """FLOAT 0..1, a fraction of the denoising.

    does: What happens after it ("the face starts to act").
    """
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=1.0,
        step=0.001,
        tooltip=f"Fraction of the denoising after which {does}.",
    )


def feather_pixels(default: float = 0.0, tooltip: str = "") -> Any:
    """FLOAT, the width in pixels of a mask's soft edge."""
    return io.Float.Input(
        "feather",
        default=default,
        min=0.0,
        max=256.0,
        step=1.0,
        tooltip=tooltip or "Width in pixels of the soft edge, which lies inside the mask.",
    )


def guider_output() -> Any:
    """GUIDER."""
    return io.Guider.Output("guider", display_name="guider", tooltip="For SamplerCustomAdvanced.")
