"""Identities in files."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io, ui

from ...errors import ModelFileError
from ..host.folders import (
    IDENTITIES,
    IDENTITY_FOLDER,
    file_mark,
    full_path,
    list_files,
    new_file,
    places,
    usable_name,
)
from ..host.missing_files import found
from ..inputs import output
from ..sockets import IdentitySocket, People
from .identity import CATEGORY, IDENTITY_TIP

NONE_YET = "none yet"
"""The only entry of the list while no identity is saved."""


class SaveIdentity(io.ComfyNode):
    """Identity -> file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_SaveIdentity",
            display_name="Save Identity",
            category=CATEGORY,
            description="Saves an identity to a safetensors file in output/identities, with the "
            "name of its encoder. Only the vectors are kept, not the single images of one person "
            "or what CLIP vision saw. A face vector is personal data: keep it as carefully as the "
            "photo.",
            search_aliases=["save face", "export embedding", "face model"],
            inputs=[
                IdentitySocket.Input(
                    "identity",
                    tooltip="From Encode Identity. FaceID-Plus and tokens for each image need the "
                    "images again: for these connect Encode Identity itself.",
                ),
                io.String.Input(
                    "name",
                    default="person",
                    tooltip="Start of the file's name; a number is added, so nothing is "
                    "overwritten.",
                ),
            ],
            outputs=[output(io.String, "file", "The file's name in Load Identity.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None) -> bool | str:
        return usable_name(IDENTITY_FOLDER, name, "Save Identity")

    @classmethod
    def execute(cls, identity: People, name: str) -> io.NodeOutput:
        from ...faces.identity_file import save_identities

        path, file = new_file(IDENTITY_FOLDER, name, "Save Identity")
        save_identities(path, identity.identities)
        return io.NodeOutput(file, ui=ui.PreviewText(f"Saved as {file}"))


def identity_path(name: str) -> Path:
    """The file of an entry in the list; raises ModelFileError."""
    if name == NONE_YET:
        raise ModelFileError(
            "no identity is saved yet",
            where=places(IDENTITIES),
            fix="Make one with Encode Identity and Save Identity, then reload the lists",
        )
    return full_path(IDENTITIES, name, "identity")


class LoadIdentity(io.ComfyNode):
    """File -> identity."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadIdentity",
            display_name="Load Identity",
            category=CATEGORY,
            description="Loads an identity from a file written by Save Identity: its vectors, "
            "without the CLIP vision states that FaceID-Plus reads.",
            search_aliases=["load face", "import embedding", "face model"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=list_files(IDENTITIES) or [NONE_YET],
                    tooltip="A file in output/identities or models/dense_face/identities.",
                )
            ],
            outputs=[
                output(IdentitySocket, "identity", IDENTITY_TIP),
                output(io.String, "encoder", "The face encoder that computed it."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return found(identity_path, file)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        try:
            return file_mark(identity_path(file))
        except ModelFileError:
            return ""  # reported when the node runs

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from ...faces.identity_file import load_identities

        identities = load_identities(identity_path(file))
        return io.NodeOutput(People(identities), identities[0].encoder)
