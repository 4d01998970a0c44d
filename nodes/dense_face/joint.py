"""Both modes in one sampling: the scene from words, the person into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..images import checked_mask
from ..percent import percent
from ..two_models import guider_output, two_models

if TYPE_CHECKING:
    from torch import Tensor


def _cfg(name: str, default: float, whose: str) -> Any:
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=100.0,
        step=0.1,
        tooltip=f"How closely the {whose} follows its prompt; 1 = no negative prompt, twice as "
        "fast.",
    )


class JointGuider(io.ComfyNode):
    """Two MODELs with their CONDITIONINGs and a mask -> GUIDER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_JointGuider",
            display_name="Joint Guider",
            category="face/dense_face",
            description="Draws a scene from words and a person into it in one sampling: "
            "text-editing mode where the mask is black, face-generation mode where it is white. "
            "For SamplerCustomAdvanced.",
            search_aliases=["two models", "regional face", "text editing", "dense-face guider"],
            inputs=[
                *two_models("What the scene shows.", " or on another Stable Diffusion 1.x one"),
                io.Mask.Input(
                    "mask",
                    tooltip="Where the person is drawn: white = face-generation mode, black = the "
                    "scene. Covers the whole image, whatever its size; one, or one per image.",
                ),
                _cfg("cfg", 5.0, "scene"),
                _cfg("face_cfg", 4.0, "face"),
                percent("start_percent", 0.0, "the face sets in"),
                percent("end_percent", 1.0, "the face stops; the scene's words draw the rest"),
                io.Float.Input(
                    "feather",
                    default=0.0,
                    min=0.0,
                    max=32.0,
                    step=0.5,
                    tooltip="Over how many cells of the latent (8 pixels each) the face fades into "
                    "the scene, inside the mask.",
                ),
            ],
            outputs=[guider_output()],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        face_model: Any,
        face_positive: Any,
        face_negative: Any,
        mask: Tensor,
        cfg: float,
        face_cfg: float,
        start_percent: float,
        end_percent: float,
        feather: float,
    ) -> io.NodeOutput:
        from ..host.dense_face.blend_mask import FixedBlendMask
        from ..host.dense_face.joint import Mode, joint_guider
        from ..host.sigmas import sigma_range

        sigmas = sigma_range(model, start_percent, end_percent)
        blend_mask = FixedBlendMask(checked_mask(mask, "Joint Guider"), sigmas, feather)
        text = Mode(model, positive, negative, cfg)
        face = Mode(face_model, face_positive, face_negative, face_cfg)
        return io.NodeOutput(joint_guider(text, face, blend_mask))
