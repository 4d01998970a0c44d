"""Both modes in one sampling, with the mask that the annotation head predicts on the way."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..sockets import AnnotationHeadSocket, LoadedHead
from ..two_models import guider_output, two_models


class PredictedJointGuider(io.ComfyNode):
    """Two MODELs with their CONDITIONINGs and an annotation head -> GUIDER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PredictedJointGuider",
            display_name="Joint Guider with Predicted Mask",
            category="face/dense_face",
            description="As Joint Guider, but nobody draws a mask: text-editing mode draws a scene "
            "with somebody in it, the annotation head sees in every step where that face is, and "
            "there face-generation mode draws the person. For SamplerCustomAdvanced.",
            search_aliases=["automatic mask", "no detector", "predicted mask", "two models"],
            inputs=[
                *two_models("What the scene shows; somebody has to be in it."),
                AnnotationHeadSocket.Input(
                    "head", tooltip="From Load Annotation Head; made for the base model."
                ),
                _number("cfg", 5.0, 100.0, 0.1, "How closely the scene follows its prompt."),
                _number("face_cfg", 4.0, 100.0, 0.1, "How closely the face follows its prompt."),
                _number(
                    "start_percent",
                    0.3,
                    1.0,
                    0.001,
                    "Share of the denoising from which on the face is looked for and drawn. Too "
                    "early there is none yet; too late the stranger's face is settled.",
                ),
                _number("end_percent", 1.0, 1.0, 0.001, "Share after which the scene draws all."),
                _number("threshold", 0.5, 1.0, 0.01, "How sure a cell has to be of the face."),
                _number(
                    "grow",
                    0.25,
                    2.0,
                    0.01,
                    "Margin around the face as a share of its diameter; takes in hair and ears.",
                ),
                _number(
                    "feather",
                    1.0,
                    32.0,
                    0.5,
                    "Over how many cells of the latent (8 pixels each) the face fades into the "
                    "scene, inside the mask.",
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
        head: LoadedHead,
        cfg: float,
        face_cfg: float,
        start_percent: float,
        end_percent: float,
        threshold: float,
        grow: float,
        feather: float,
    ) -> io.NodeOutput:
        from ..host.dense_face.joint import Mode, joint_guider
        from ..host.dense_face.predicted_blend_mask import predicted_blend_mask
        from ..host.sigmas import sigma_range

        sigmas = sigma_range(model, start_percent, end_percent)
        captured, blend_mask = predicted_blend_mask(
            model, head.patcher, sigmas, threshold=threshold, grow=grow, feather=feather,
            where="Joint Guider with Predicted Mask",
        )  # fmt: skip
        text = Mode(captured, positive, negative, cfg)
        face = Mode(face_model, face_positive, face_negative, face_cfg)
        return io.NodeOutput(joint_guider(text, face, blend_mask))


def _number(name: str, default: float, most: float, step: float, tip: str) -> Any:
    return io.Float.Input(name, default=default, min=0.0, max=most, step=step, tooltip=tip)
