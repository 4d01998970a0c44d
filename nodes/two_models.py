"""The sockets of guiders that draw with two models at once."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io


def two_models(positive: str, other_base: str = "") -> list[Any]:
    """Text-editing mode's MODEL and CONDITIONINGs, then face-generation mode's.

    positive: What the scene's prompt has to say.
    other_base: Which other base than text-editing mode's the face model may have.
    """
    return [
        io.Model.Input("model", tooltip="Text-editing mode: the base model, without the adapter."),
        io.Conditioning.Input("positive", tooltip=positive),
        io.Conditioning.Input("negative", tooltip="What the scene must not show."),
        io.Model.Input(
            "face_model",
            tooltip="Face-generation mode: from Apply Dense-Face Adapter, on the same base model"
            f"{other_base}.",
        ),
        io.Conditioning.Input(
            "face_positive",
            tooltip="The prompt with the person in it, from Encode Prompt with Identity; with the "
            "pose, if there is one, from Apply ControlNet (Advanced).",
        ),
        io.Conditioning.Input(
            "face_negative",
            tooltip="The plain negative prompt. The other output of Apply ControlNet (Advanced) "
            "fits too, but then guidance does not strengthen the turn of the head.",
        ),
    ]


def guider_output() -> Any:
    """GUIDER."""
    return io.Guider.Output("guider", display_name="guider", tooltip="For SamplerCustomAdvanced.")
