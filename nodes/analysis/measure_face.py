"""Metrics of a face: head pose and expression."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ..inputs import output
from ..sockets import AnalyzerSocket, HeadPoses, LoadedAnalyzer, PoseSocket
from .chosen_face import chosen, detections_of
from .metrics import (
    CATEGORY,
    MEASURED_TIP,
    Bar,
    account,
    image_number,
    mean,
    measured,
    text_output,
    with_face,
)

POSE, EXPRESSION = "Measure Pose", "Measure Expression"
LONGEST = 45.0
"""Pose error in degrees that fills the bar."""


class MeasurePose(io.ComfyNode):
    """Images and a target pose -> the pose error."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_MeasurePose",
            display_name=POSE,
            category=CATEGORY,
            description="Compares the head pose in an image with a target pose, in degrees.",
            search_aliases=["pose error", "head angle error", "yaw pitch roll"],
            is_output_node=True,
            inputs=[
                AnalyzerSocket.Input("analyzer", tooltip="Estimates the pose."),
                io.Image.Input("image", tooltip=MEASURED_TIP),
                PoseSocket.Input(
                    "pose",
                    tooltip="The target pose: one for all images, or one for each.",
                ),
            ],
            outputs=[
                output(
                    io.Float,
                    "error",
                    "Mean absolute error of yaw, pitch and roll over all images, in degrees.",
                ),
                text_output(),
            ],
        )

    @classmethod
    def execute(cls, analyzer: LoadedAnalyzer, image: Tensor, pose: HeadPoses) -> io.NodeOutput:
        from ...faces.face import HeadPose
        from ...faces.metrics import pose_error

        if len(pose) not in (1, len(image)):
            raise InputError(
                f"{len(pose)} poses for {len(image)} images",
                where=POSE,
                fix="Give one pose, or one for each image",
            )
        targets = pose.angles * len(image) if len(pose) == 1 else pose.angles
        detections = detections_of(analyzer, image, 0, POSE)
        errors = []
        bars = []
        for i in with_face(detections, POSE):
            face = chosen(detections[i])
            if face.pose is None:
                raise InputError(
                    "the analyzer gives no head pose", where=face.source, fix="Use another one"
                )
            error = pose_error(face.pose, HeadPose(*targets[i]))
            errors.append(error)
            fraction = min(error.mean / LONGEST, 1.0)
            number = image_number(i, len(detections))
            bars.append(Bar(fraction, f"{error.mean:.1f}°", "off", image=number))
        means = [mean([getattr(e, name) for e in errors]) for name in ("yaw", "pitch", "roll")]
        value = mean([error.mean for error in errors])
        text = (
            f"pose {value:.1f}° off by {analyzer.name} (yaw {means[0]:+.1f}, pitch {means[1]:+.1f},"
            f" roll {means[2]:+.1f}; in one turn {mean([e.turn for e in errors]):.1f}°)"
        )
        text += account(detections)
        return io.NodeOutput(value, text, ui=measured(text, bars))


class MeasureExpression(io.ComfyNode):
    """Images and a reference of the expression -> their agreement."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_MeasureExpression",
            display_name=EXPRESSION,
            category=CATEGORY,
            description="Measures how well two expressions agree: the movement that both faces "
            "have in common, divided by the movement that either makes.",
            search_aliases=[
                "expression similarity",
                "blendshape difference",
                "emotion score",
                "compare expressions",
            ],
            is_output_node=True,
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer", tooltip="The landmarker or the tiny world's analyzer."
                ),
                io.Image.Input("image", tooltip=MEASURED_TIP),
                io.Image.Input(
                    "reference",
                    tooltip="The target expression: one image for all, or one for each.",
                ),
            ],
            outputs=[
                output(
                    io.Float,
                    "agreement",
                    "0 to 1, mean over the images; a smile half as wide gives about 0.5.",
                ),
                text_output(),
            ],
        )

    @classmethod
    def execute(cls, analyzer: LoadedAnalyzer, image: Tensor, reference: Tensor) -> io.NodeOutput:
        from ...faces.detection import ERROR, remaining
        from ...faces.metrics import expression_agreement

        if len(reference) not in (1, len(image)):
            raise InputError(
                f"{len(reference)} references for {len(image)} images",
                where=EXPRESSION,
                fix="Give one reference, or one for each image",
            )
        references = detections_of(analyzer, reference, 0, EXPRESSION)
        remaining(references, ERROR, EXPRESSION)
        references = references * len(image) if len(references) == 1 else references
        detections = detections_of(analyzer, image, 0, EXPRESSION)
        kept = with_face(detections, EXPRESSION)
        found = [
            expression_agreement(
                chosen(detections[i]).blendshapes or {}, chosen(references[i]).blendshapes or {}
            )
            for i in kept
        ]
        value = mean([one.agreement for one in found])
        text = (
            f"expression agrees by {value:.2f} by {analyzer.name}, mean difference "
            f"{mean([one.difference for one in found]):.3f}"
        )
        if len(found) == 1:
            text += "; most: " + ", ".join(f"{name} {gap:+.2f}" for name, gap in found[0].most)
        text += account(detections)
        bars = [
            Bar(
                one.agreement,
                f"{one.agreement:.2f}",
                "agreement",
                image=image_number(i, len(image)),
            )
            for i, one in zip(kept, found, strict=True)
        ]
        return io.NodeOutput(value, text, ui=measured(text, bars))
