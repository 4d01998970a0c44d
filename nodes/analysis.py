"""What pictures tell: who it is, and where the face is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..errors import InputError
from .pictures import channels_first
from .sockets import AnalyzerSocket, IdentitySocket, LoadedAnalyzer, People

if TYPE_CHECKING:
    from torch import Tensor

    from ..demo.analyzer import Analysis

CATEGORY = "face/analysis"
ONE_PERSON = "one person"
ONE_EACH = "one person per picture"
HEAD, FACE = "head with hair", "face"


class EncodeIdentity(io.ComfyNode):
    """Portraits -> who it is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_EncodeIdentity",
            display_name="Encode Identity",
            category=CATEGORY,
            description="Measures who is in one or more reference portraits.",
            search_aliases=["face embedding", "face id", "reference face", "identity vector"],
            inputs=[
                AnalyzerSocket.Input("analyzer", tooltip="From Load Tiny-World Analyzer."),
                io.Image.Input(
                    "image",
                    tooltip="Reference portraits, one face each. Several of one person, in other "
                    "light and pose, give a truer likeness than one.",
                ),
                io.Combo.Input(
                    "pictures_show",
                    options=[ONE_PERSON, ONE_EACH],
                    default=ONE_PERSON,
                    tooltip="one person: the pictures are averaged. one person per picture: the "
                    "batch that you generate gets one person for each of its pictures.",
                ),
            ],
            outputs=[
                IdentitySocket.Output(
                    "identity",
                    display_name="identity",
                    tooltip="For Encode Prompt with Identity and Apply Dense-Face Adapter.",
                ),
                io.Float.Output(
                    "score",
                    display_name="score",
                    tooltip="How surely there is a face, 0 to 1 (the worst of the pictures used).",
                ),
            ],
        )

    @classmethod
    def execute(cls, analyzer: LoadedAnalyzer, image: Tensor, pictures_show: str) -> io.NodeOutput:
        from ..faces.identity import Identity, average
        from .host.analyzer import analyse

        seen = analyse(analyzer.patcher, channels_first(image, "Encode Identity"))
        faces = seen.face_logit > 0
        require_faces(seen, "Encode Identity", every=pictures_show == ONE_EACH)
        people = tuple(Identity(vector, analyzer.encoder) for vector in seen.identity[faces])
        if pictures_show == ONE_PERSON:
            people = (average(people),)
        score = float(seen.face_logit[faces].sigmoid().min())
        return io.NodeOutput(People(people), score)


class FaceMask(io.ComfyNode):
    """Pictures -> where the head is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_FaceMask",
            display_name="Face Mask",
            category=CATEGORY,
            description="Marks the head (or only the face) in a picture: what is white is drawn "
            "anew, the rest is kept. For Set Latent Noise Mask and Composite Face.",
            search_aliases=["face segmentation", "head mask", "face parsing"],
            inputs=[
                AnalyzerSocket.Input("analyzer", tooltip="From Load Tiny-World Analyzer."),
                io.Image.Input("image", tooltip="The scene; one head a picture."),
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
                    "mask", display_name="mask", tooltip="White = draw anew, the picture's size."
                )
            ],
        )

    @classmethod
    def execute(
        cls, analyzer: LoadedAnalyzer, image: Tensor, region: str, grow: float, feather: float
    ) -> io.NodeOutput:
        from ..dense_face.composite import feather as feathered
        from ..faces.face_mask import face_mask
        from ..faces.head_mask import head_mask
        from .host.analyzer import analyse

        seen = analyse(analyzer.patcher, channels_first(image, "Face Mask"))
        require_faces(seen, "Face Mask", every=True)
        height, width = image.shape[1:3]
        if region == HEAD:
            mask = head_mask(seen.head_logit, height, width, grow=grow)
        else:
            mask = face_mask(seen.part_logits, height, width, grow=grow)
        return io.NodeOutput(1 - feathered(1 - mask[:, None], feather)[:, 0])


def require_faces(seen: Analysis, where: str, *, every: bool) -> None:
    """Raise InputError, naming the pictures, unless one picture (or every one) shows a face."""
    without = [i + 1 for i, logit in enumerate(seen.face_logit.tolist()) if logit <= 0]
    count = len(seen.face_logit)
    if without and (every or len(without) == count):
        numbers = ", ".join(map(str, without))
        which = "the picture" if count == 1 else f"picture {numbers} of {count}"
        raise InputError(
            f"no face was found in {which}",
            where=where,
            fix="Use a picture of one head that fills most of the frame",
        )
