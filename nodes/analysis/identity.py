"""Who it is: measured in images, kept in files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

from ...errors import InputError, ModelFileError
from ..host.folders import IDENTITIES, file_mark, full_path, identities_folder, list_files, places
from ..sockets import (
    AnalyzerSocket,
    FacesSocket,
    FoundFaces,
    IdentitySocket,
    LoadedAnalyzer,
    People,
)
from .chosen_face import chosen, detections_of, index_input

if TYPE_CHECKING:
    from torch import Tensor

CATEGORY = "face/analysis"
ONE_PERSON = "one person"
ONE_EACH = "one person per picture"
NONE_YET = "none yet"
"""Only entry of the list while no identity is saved."""


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
                AnalyzerSocket.Input(
                    "analyzer",
                    tooltip="From Load Tiny-World Analyzer, Load Face Analyzer or Load Face "
                    "Encoder: the one that the adapter was trained with.",
                ),
                io.Image.Input(
                    "image",
                    tooltip="Reference portraits, one face each. Several of one person, in other "
                    "light and pose, give a truer likeness than one.",
                ),
                io.Combo.Input(
                    "pictures_show",
                    options=[ONE_PERSON, ONE_EACH],
                    default=ONE_PERSON,
                    tooltip="one person: the images are averaged. one person per image: the "
                    "batch that you generate gets one person for each of its images.",
                ),
                FacesSocket.Input(
                    "faces",
                    optional=True,
                    tooltip="Faces that were found in these images already; without it the "
                    "analyzer looks for them.",
                ),
                index_input(),
                io.String.Input(
                    "weights",
                    default="",
                    optional=True,
                    tooltip="For one person: how much each image counts, as 1, 0.5, 0. Empty: "
                    "all alike.",
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
                    tooltip="How surely there is a face, 0 to 1 (the worst of the images used).",
                ),
                io.String.Output(
                    "report",
                    display_name="report",
                    tooltip="Which images were used, and for one person how well each fits the "
                    "others: an image of somebody else is named.",
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
    ) -> io.NodeOutput:
        from ...faces.agreement import agreement
        from ...faces.analyzers import to_rgb
        from ...faces.detection import problems, remaining, report
        from ...faces.identity import average
        from ..host.blocking import blocked

        where = "Encode Identity"
        amounts = parse_weights(weights, len(image), where)
        detections = detections_of(analyzer, image, face_index, where, faces)
        if faces is not None and not any(faces.images):
            # Detect Faces let the images pass on purpose: what needs nobody goes on.
            why = f"{problems(detections)} ({where})"
            return io.NodeOutput(blocked(why), blocked(why), report(detections))
        kept = remaining(detections, "error" if pictures_show == ONE_EACH else "skip", where)
        if not kept:
            raise InputError(
                problems(detections),
                where=where,
                fix="Use an image in which one face is large and not covered",
            )
        images = image.movedim(-1, 1)
        people = tuple(analyzer.identity(to_rgb(images[i]), chosen(detections[i])) for i in kept)
        told = report(detections)
        if pictures_show == ONE_PERSON:
            told = f"{told}; {agreement(people)}" if len(people) > 1 else told
            people = (average(people, [amounts[i] for i in kept]),)
        score = min(chosen(detections[i]).score for i in kept)
        return io.NodeOutput(People(people), score, told)


class SaveIdentity(io.ComfyNode):
    """Identity -> file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_SaveIdentity",
            display_name="Save Identity",
            category=CATEGORY,
            description="Writes who somebody is to a safetensors file in output/identities, with "
            "the name of the encoder. A face vector is personal data: keep it as carefully as the "
            "photo.",
            search_aliases=["save face", "export embedding", "face model"],
            inputs=[
                IdentitySocket.Input("identity", tooltip="From Encode Identity."),
                io.String.Input(
                    "name",
                    default="person",
                    tooltip="Beginning of the file's name; a number is added, so that nothing is "
                    "overwritten.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "file",
                    display_name="file",
                    tooltip="Its name in Load Identity.",
                )
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, identity: People, name: str) -> io.NodeOutput:
        from ...faces.identity_file import save_identities

        path = _new_file(name)
        save_identities(path, identity.identities)
        file = path.relative_to(identities_folder()).as_posix()
        return io.NodeOutput(file, ui=ui.PreviewText(f"Saved as {file}"))


class LoadIdentity(io.ComfyNode):
    """File -> identity."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadIdentity",
            display_name="Load Identity",
            category=CATEGORY,
            description="Reads who somebody is from a file that Save Identity wrote.",
            search_aliases=["load face", "import embedding", "face model"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=list_files(IDENTITIES) or [NONE_YET],
                    tooltip="A file in output/identities or models/dense_face/identities.",
                )
            ],
            outputs=[
                IdentitySocket.Output(
                    "identity",
                    display_name="identity",
                    tooltip="For Encode Prompt with Identity and Apply Dense-Face Adapter.",
                ),
                io.String.Output(
                    "encoder",
                    display_name="encoder",
                    tooltip="The face encoder that measured it.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        try:
            return file_mark(full_path(IDENTITIES, file, "identity"))
        except ModelFileError:
            return ""  # told when the node runs

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from ...faces.identity_file import load_identities

        if file == NONE_YET:
            raise ModelFileError(
                "no identity is saved yet",
                where=places(IDENTITIES),
                fix="Make one with Encode Identity and Save Identity, then reload the lists",
            )
        identities = load_identities(full_path(IDENTITIES, file, "identity"))
        return io.NodeOutput(People(identities), identities[0].encoder)


def parse_weights(text: str, count: int, where: str) -> list[float]:
    """Numbers from a text such as ``1, 0.5``; ones when it is empty.

    Raises:
        InputError: It holds something else, or another number of weights than ``count``.
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


def _new_file(name: str) -> Path:
    """The next free place ``<name>_00001.safetensors`` in the folder of identities."""
    folder = identities_folder()
    wanted = Path(name.strip())
    if not wanted.name or wanted.is_absolute() or ".." in wanted.parts:
        raise InputError(
            f"an identity cannot be saved under the name {name!r}",
            where="Save Identity",
            fix="Give a plain name such as anna",
        )
    number = 1
    while (path := folder / wanted.parent / f"{wanted.name}_{number:05}.safetensors").exists():
        number += 1
    return path
