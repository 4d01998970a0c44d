"""Identities of faces: encoded from images, and moved away from another identity."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ..inputs import between, choice, output
from ..sockets import (
    AnalyzerSocket,
    FacesSocket,
    FoundFaces,
    IdentitySocket,
    LoadedAnalyzer,
    People,
)
from .chosen_face import chosen, detections_of, index_input

CATEGORY = "face/analysis"
ENCODE, AWAY = "Encode Identity", "Identity Away From"
ONE_PERSON = "one person"
ONE_EACH = "one person per picture"
IDENTITY_TIP = "For Encode Prompt with Identity, Apply Dense-Face Adapter and Apply SFSR."


class EncodeIdentity(io.ComfyNode):
    """Portraits -> identity."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_EncodeIdentity",
            display_name=ENCODE,
            category=CATEGORY,
            description="Computes the identity vector of the person in one or more reference "
            "portraits.",
            search_aliases=[
                "face embedding",
                "face id",
                "reference face",
                "identity vector",
                "photo face",
                "selfie",
                "headshot",
                "reactor",
                "instantid",
                "consistent character",
                "ip-adapter",
                "average faces",
                "ipadapter",
                "photomaker",
            ],
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer",
                    tooltip="From Load Tiny-World Analyzer, Load Face Analyzer or Load Face "
                    "Encoder: the one the adapter was trained with.",
                ),
                io.Image.Input(
                    "image",
                    tooltip="Reference portraits, one face each. Several portraits of one person "
                    "in different light and pose give a better likeness than one.",
                ),
                choice(
                    "pictures_show",
                    [ONE_PERSON, ONE_EACH],
                    "one person: the identities of the images are averaged. one person per "
                    "picture: each image of the generated batch gets a person of its own.",
                ),
                FacesSocket.Input(
                    "faces",
                    optional=True,
                    tooltip="Faces already detected in these images; without it the analyzer "
                    "detects them.",
                ),
                index_input(),
                io.String.Input(
                    "weights",
                    default="",
                    optional=True,
                    tooltip="For one person: the weight of each image in the average, as 1, 0.5, "
                    "0. Empty: all equal.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="From Load CLIP Vision, for FaceID-Plus and Plus v2, which also read "
                    "the face's image: CLIP-ViT-H-14-laion2B-s32B-b79K. Other adapters ignore it.",
                ),
            ],
            outputs=[
                output(IdentitySocket, "identity", IDENTITY_TIP),
                output(
                    io.Float, "score", "Detection score, 0 to 1: the lowest of the images used."
                ),
                output(
                    io.String,
                    "report",
                    "Which images were used and, for one person, how well each agrees with "
                    "the others; an image of somebody else is named.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        analyzer: LoadedAnalyzer,
        image: Tensor,
        pictures_show: str,
        faces: FoundFaces | None = None,
        face_index: int = 0,
        weights: str = "",
        clip_vision: Any = None,
    ) -> io.NodeOutput:
        from ...faces.agreement import agreement
        from ...faces.analyzers import to_rgb
        from ...faces.detection import fix_of, problems, remaining, report
        from ...faces.identity import average
        from ..host.execution import blocked, stepped, steps

        amounts = parse_weights(weights, len(image), ENCODE)
        detections = detections_of(analyzer, image, face_index, ENCODE, faces)
        if faces is not None and not any(faces.images):
            # Detect Faces passed these images through on purpose: nodes that need no identity run.
            why = f"{problems(detections)} ({ENCODE})"
            return io.NodeOutput(blocked(why), blocked(why), report(detections))
        kept = remaining(detections, "error" if pictures_show == ONE_EACH else "skip", ENCODE)
        if not kept:
            raise InputError(
                problems(detections),
                where=ENCODE,
                fix=fix_of(detections, "Use an image in which one face is large and not covered"),
            )
        references = [(to_rgb(image[i].movedim(-1, 0)), chosen(detections[i])) for i in kept]
        step = steps(len(kept) if clip_vision is None else 2 * len(kept))
        found = tuple(analyzer.identity(pixels, face) for pixels, face in stepped(references, step))
        score, summary = min(face.score for _, face in references), report(detections)
        if pictures_show == ONE_EACH:
            groups, people = [[i] for i in range(len(found))], found
        else:
            summary = f"{summary}; {agreement(found)}" if len(found) > 1 else summary
            people = (average(found, [amounts[i] for i in kept]),)
            groups = [[i for i, place in enumerate(kept) if amounts[place] > 0]]
        photos = tuple(tuple(found[i] for i in group) for group in groups)
        if clip_vision is None:
            return io.NodeOutput(People(people, photos), score, summary)
        from ..host.clip_states import absent_states, face_states

        states = tuple(
            face_states(clip_vision, stepped([references[i] for i in group], step), ENCODE)
            for group in groups
        )
        absent = absent_states(clip_vision, ENCODE)
        return io.NodeOutput(People(people, photos, states, absent), score, summary)


class IdentityAwayFrom(io.ComfyNode):
    """Identity -> the same, less like another one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_IdentityAwayFrom",
            display_name=AWAY,
            category=CATEGORY,
            description="Makes an identity a little less like another one: removes the trace that "
            "the scene's original face leaves in the new one.",
            search_aliases=["face swap", "identity leak", "old face", "negative identity"],
            inputs=[
                IdentitySocket.Input(
                    "identity", tooltip="The person to draw: from Encode Identity."
                ),
                IdentitySocket.Input(
                    "other",
                    tooltip="The person who must not show through: the scene's original face, from "
                    "Encode Identity. One for all, or one for each.",
                ),
                io.Float.Input(
                    "amount",
                    **between(0.0, 0.5, step=0.01, default=0.06),
                    tooltip="Fraction of the other identity that is subtracted; 0 changes nothing, "
                    "above 0.2 the likeness suffers.",
                ),
            ],
            outputs=[output(IdentitySocket, "identity", IDENTITY_TIP)],
        )

    @classmethod
    def execute(cls, identity: People, other: People, amount: float) -> io.NodeOutput:
        from ...faces.identity import away_from

        people, others = identity.identities, other.identities
        count = max(len(people), len(others))
        if {len(people), len(others)} - {1, count}:
            raise InputError(
                f"{len(people)} people cannot be kept away from {len(others)} others",
                where=AWAY,
                fix="Give one other for all or exactly one for each",
            )
        repeated, others = count // len(people), others * (count // len(others))
        pairs = zip(people * repeated, others, strict=True)
        photos = zip(identity.references * repeated, others, strict=True)
        states = identity.clip_states
        return io.NodeOutput(
            People(
                tuple(away_from(who, other, amount) for who, other in pairs),
                tuple(tuple(away_from(one, other, amount) for one in of) for of, other in photos),
                None if states is None else states * repeated,
                identity.clip_absent,
            )
        )


def parse_weights(text: str, count: int, where: str) -> list[float]:
    """Weights from a text such as ``1, 0.5``; ones when it is empty.

    Raises:
        InputError: The text holds something else, or not ``count`` weights of at least 0.
    """
    words = text.replace(",", " ").replace(";", " ").split()
    if not words:
        return [1.0] * count
    try:
        weights = [float(word) for word in words]
    except ValueError as error:
        raise InputError(
            f"the weights {text!r} are not numbers", where=where, fix="Write them as 1, 0.5, 0"
        ) from error
    if len(weights) != count or not all(0 <= w < float("inf") for w in weights):
        raise InputError(
            f"{count} images were given the weights {text!r}",
            where=where,
            fix="Give one weight of 0 or more for each image",
        )
    return weights
