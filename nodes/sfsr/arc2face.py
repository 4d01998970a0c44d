"""An identity as the prompt of Arc2Face."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..inputs import choice, output
from ..sockets import IdentitySocket, People
from .sockets import CATEGORY

NAME = "Encode Arc2Face Identity"
COMBINING = ("mean", "median")
"""As ``sfsr.arc2face.prompt.COMBINING``, which is imported when the node runs."""


class EncodeArc2Face(io.ComfyNode):
    """CLIP + identity -> conditioning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_EncodeArc2Face",
            display_name=NAME,
            category=CATEGORY,
            description="The prompt of Arc2Face for a person: a fixed sentence in which the face's "
            "vector takes the place of a word. Arc2Face reads no other prompts.",
            search_aliases=["arc2face", "arcface", "id person", "face identity", "likeness"],
            inputs=[
                io.Clip.Input(
                    "clip",
                    tooltip="Arc2Face's own text encoder: from Load CLIP, type stable_diffusion. "
                    "A checkpoint's CLIP gives a wrong image.",
                ),
                IdentitySocket.Input(
                    "identity",
                    tooltip="From Encode Identity with Arc2Face's recogniser, arcface.onnx (Load "
                    "Face Encoder). Several people give a batch, one for each image.",
                ),
                choice(
                    "several_photos",
                    COMBINING,
                    "How several photos of one person are combined. median: one unlike photo "
                    "among a few changes less; from three photos on.",
                ),
            ],
            outputs=[
                output(io.Conditioning, "positive", "The person. CFG 3, 25 steps of dpmpp_2m."),
                output(
                    io.Conditioning,
                    "negative",
                    "The empty prompt by the same text encoder, as Arc2Face was used.",
                ),
                output(
                    io.String,
                    "report",
                    "People, photos and the text encoder's file; warns if that seems to be an "
                    "ordinary one.",
                ),
            ],
        )

    @classmethod
    def execute(cls, clip: Any, identity: People, several_photos: str) -> io.NodeOutput:
        from ...sfsr.arc2face.prompt import MEAN, combined
        from ..host.sfsr.arc2face import encode_people
        from ..host.sfsr.arc2face_checks import TEXT, origin, warn

        # The identity itself is the mean, with the photos' weights.
        people = [
            who if several_photos == MEAN else combined(photos, several_photos)
            for who, photos in zip(identity.identities, identity.references, strict=True)
        ]
        positive, negative = encode_people(clip, people)
        photos = sum(len(of) for of in identity.references)
        lines = [f"Arc2Face: {len(people)} people of {photos} photos, {several_photos}"]
        of = origin(clip.patcher, TEXT)
        if of.name:
            lines.append(f"text encoder: {of.name}")
        if of.name and not of.arc2face:
            says = f"{of.name} does not seem to be Arc2Face's text encoder"
            if of.checkpoint:
                says = f"the text encoder is that of the checkpoint {of.name}, not Arc2Face's"
            lines.append(
                f"warning: {says}; connect Load CLIP with its pytorch_model.bin, in a folder "
                "named arc2face"
            )
        warn(NAME, lines)
        return io.NodeOutput(positive, negative, "\n".join(lines))
