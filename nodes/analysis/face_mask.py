"""What images tell: where the face is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ...errors import InputError
from ..images import channels_first
from ..sockets import AnalyzerSocket, LoadedAnalyzer

if TYPE_CHECKING:
    from torch import Tensor

    from ...demo.networks.analyzer import Analysis

CATEGORY = "face/analysis"
HEAD, FACE = "head with hair", "face"


class FaceMask(io.ComfyNode):
    """Images -> where the head is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_FaceMask",
            display_name="Face Mask",
            category=CATEGORY,
            description="Marks the head (or only the face) in an image: what is white is drawn "
            "anew, the rest is kept. For Set Latent Noise Mask and Composite Face.",
            search_aliases=["face segmentation", "head mask", "face parsing"],
            inputs=[
                AnalyzerSocket.Input("analyzer", tooltip="From Load Tiny-World Analyzer."),
                io.Image.Input("image", tooltip="The scene; one head an image."),
                io.Combo.Input(
                    "region",
                    options=[HEAD, FACE],
                    default=HEAD,
                    tooltip="head with hair: for another person or a turned head. face: from brows "
                    "to chin, keeps the hair.",
                ),
                io.Float.Input(
                    "grow",
                    default=0.12,
                    min=-0.5,
                    max=2.0,
                    step=0.01,
                    tooltip="Margin around it as a share of its diameter: room for another hair "
                    "style or a further turn.",
                ),
                io.Float.Input(
                    "feather",
                    default=0.0,
                    min=0.0,
                    max=256.0,
                    step=1.0,
                    tooltip="Pixels over which the edge fades, inwards.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    "mask", display_name="mask", tooltip="White = draw anew, the image's size."
                )
            ],
        )

    @classmethod
    def execute(
        cls, analyzer: LoadedAnalyzer, image: Tensor, region: str, grow: float, feather: float
    ) -> io.NodeOutput:
        from ...dense_face.composite import feather as feathered
        from ...faces.masks.face_mask import face_mask
        from ...faces.masks.head_mask import head_mask
        from ..host.tiny.analyzer import analyse

        seen = analyse(analyzer.patcher, channels_first(image, "Face Mask"))
        require_faces(seen, "Face Mask", every=True)
        height, width = image.shape[1:3]
        if region == HEAD:
            mask = head_mask(seen.head_logit, height, width, grow=grow)
        else:
            mask = face_mask(seen.part_logits, height, width, grow=grow)
        return io.NodeOutput(1 - feathered(1 - mask[:, None], feather)[:, 0])


def require_faces(seen: Analysis, where: str, *, every: bool) -> None:
    """Raise InputError, naming the images, unless one image (or every one) shows a face."""
    without = [i + 1 for i, logit in enumerate(seen.face_logit.tolist()) if logit <= 0]
    count = len(seen.face_logit)
    if without and (every or len(without) == count):
        numbers = ", ".join(map(str, without))
        which = "the image" if count == 1 else f"image {numbers} of {count}"
        raise InputError(
            f"no face was found in {which}",
            where=where,
            fix="Use an image of one head that fills most of the frame",
        )
