"""Two modes in one sampling: a scene from text, and the person drawn into it."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..images import checked_mask
from ..inputs import guider_output, percent
from ..sockets import AnnotationHeadSocket, LoadedHead

CATEGORY = "face/dense_face"
JOINT, PREDICTED = "Joint Guider", "Joint Guider with Predicted Mask"
_FEATHER_TIP = (
    "Width of the soft edge in latent cells (8 pixels each); it lies inside the mask and blends "
    "the face into the scene."
)


class JointGuider(io.ComfyNode):
    """Two MODELs with their CONDITIONINGs and a mask -> GUIDER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_JointGuider",
            display_name=JOINT,
            category=CATEGORY,
            description="Draws a scene from text and a person into it in one sampling: "
            "text-editing mode where the mask is black, face-generation mode where it is white. "
            "For SamplerCustomAdvanced.",
            search_aliases=["two models", "regional face", "text editing", "dense-face guider"],
            inputs=[
                *_two_models("What the scene shows.", " or on another Stable Diffusion 1.x model"),
                io.Mask.Input(
                    "mask",
                    tooltip="Where the person is drawn: white = face-generation mode, black = the "
                    "scene. Stretched over the whole image; one for all images, or one per image.",
                ),
                _cfg("cfg", 5.0, "scene", "; 1 = no negative prompt, twice as fast"),
                _cfg("face_cfg", 4.0, "face", "; 1 = no negative prompt, twice as fast"),
                percent("start_percent", 0.0, "the face is drawn"),
                percent("end_percent", 1.0, "only the scene is drawn, over the whole image"),
                _number("feather", 0.0, 32.0, 0.5, _FEATHER_TIP),
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
        blend_mask = FixedBlendMask(checked_mask(mask, JOINT), sigmas, feather)
        text = Mode(model, positive, negative, cfg)
        face = Mode(face_model, face_positive, face_negative, face_cfg)
        return io.NodeOutput(joint_guider(text, face, blend_mask))


class PredictedJointGuider(io.ComfyNode):
    """Two MODELs with their CONDITIONINGs and an annotation head -> GUIDER."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_PredictedJointGuider",
            display_name=PREDICTED,
            category=CATEGORY,
            description="Joint Guider that makes its own mask: text-editing mode draws a scene "
            "with somebody in it, the annotation head finds that face in every step, and "
            "face-generation mode draws the person there. For SamplerCustomAdvanced.",
            search_aliases=["automatic mask", "no detector", "predicted mask", "two models"],
            inputs=[
                *_two_models("What the scene shows; it must contain a person."),
                AnnotationHeadSocket.Input(
                    "head", tooltip="From Load Annotation Head; trained for the base model."
                ),
                _cfg("cfg", 5.0, "scene"),
                _cfg("face_cfg", 4.0, "face"),
                _number(
                    "start_percent",
                    0.3,
                    1.0,
                    0.001,
                    "Fraction of the denoising after which the face is detected and drawn. Too "
                    "early, there is no face yet; too late, the other person's face is already "
                    "fixed.",
                ),
                percent("end_percent", 1.0, "only the scene is drawn"),
                _number(
                    "threshold",
                    0.5,
                    1.0,
                    0.01,
                    "Lowest face probability of a cell that belongs to the mask.",
                ),
                _number(
                    "grow",
                    0.25,
                    2.0,
                    0.01,
                    "Margin around the face as a fraction of its diameter; makes room for hair and "
                    "ears.",
                ),
                _number("feather", 1.0, 32.0, 0.5, _FEATHER_TIP),
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
            where=PREDICTED,
        )  # fmt: skip
        text = Mode(captured, positive, negative, cfg)
        face = Mode(face_model, face_positive, face_negative, face_cfg)
        return io.NodeOutput(joint_guider(text, face, blend_mask))


def _two_models(positive: str, other_base: str = "") -> list[Any]:
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
            tooltip="The prompt that contains the person, from Encode Prompt with Identity; with a "
            "pose, through Apply ControlNet.",
        ),
        io.Conditioning.Input(
            "face_negative",
            tooltip="The plain negative prompt. The negative output of Apply ControlNet "
            "works too, but then guidance does not strengthen the pose.",
        ),
    ]


def _cfg(name: str, default: float, whose: str, more: str = "") -> Any:
    tip = f"How closely the {whose} follows its prompt{more}."
    return _number(name, default, 100.0, 0.1, tip)


def _number(name: str, default: float, most: float, step: float, tip: str) -> Any:
    return io.Float.Input(name, default=default, min=0.0, max=most, step=step, tooltip=tip)
