"""Load an SFSR adapter, of this pack or published."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ...demo.bundled import SFSR_FILE, WEIGHTS
from ...errors import ModelFileError
from ...published_files import BY_KEY
from ..host.folders import (
    BUNDLED,
    IP_ADAPTERS,
    IP_ENDINGS,
    file_mark,
    full_path,
    list_files,
    places,
)
from ..host.missing_files import found
from ..inputs import output
from .sockets import CATEGORY, LoadedSFSR, SFSRAdapterSocket

FOLDER = "sfsr"
TINY_ADAPTER = WEIGHTS / SFSR_FILE
BY_NAME, PLUS, PLUS_V2 = "by the file's name", "Plus", "Plus v2"
NONE_YET = "none yet"
"""Only entry of the list where there is no file."""
_OTHERS = f"{IP_ADAPTERS}/"


def adapter_names() -> list[str]:
    """Entries of the list of adapters: ours first, then IP-Adapters."""
    own = list_files(FOLDER, bundled=TINY_ADAPTER.is_file())
    others = [f"{_OTHERS}{name}" for name in list_files(IP_ADAPTERS, suffixes=IP_ENDINGS)]
    return [*own, *others] or [NONE_YET]


def adapter_path(name: str) -> Path:
    """The file behind an entry; raises ModelFileError."""
    if name == BUNDLED:
        return TINY_ADAPTER
    if name == NONE_YET:
        raise ModelFileError(
            "there is no SFSR adapter yet",
            where=places(FOLDER),
            fix="Put an SFSR adapter there, or a published one into models/ipadapter: "
            f"{BY_KEY['faceid'].where_to_get} for the identity, {BY_KEY['fineface'].where_to_get} "
            "for the expression. Then reload the lists",
        )
    if name.startswith(_OTHERS):
        return full_path(IP_ADAPTERS, name.removeprefix(_OTHERS), "IP-Adapter")
    return full_path(FOLDER, name, "SFSR adapter")


def adapter_files(name: str) -> list[Path]:
    """All files behind an entry, FineFace's both; raises ModelFileError."""
    from ...sfsr.ip_adapter.load import partner_file

    path = adapter_path(name)
    halves = {file.name for file in BY_KEY["fineface"].files}
    if path.name not in halves:
        return [path]
    partner = partner_file(path)
    if partner is None:
        (lacking,) = halves - {path.name}
        raise ModelFileError(
            f"{lacking}, the other half of FineFace, is missing",
            where=str(path.parent),
            fix=f"Put both files there: {BY_KEY['fineface'].where_to_get}",
        )
    return [path, partner]


class LoadSFSRAdapter(io.ComfyNode):
    """File -> adapter."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_LoadAdapter",
            display_name="Load SFSR Adapter",
            category=CATEGORY,
            description="Loads an adapter for identity and expression, or a published one for "
            "Stable Diffusion 1.5: IP-Adapter-FaceID, FaceID-Plus, Plus v2 or Portrait for the "
            "identity, FineFace or Arc2Face's expression adapter for the expression. For SDXL "
            "there are FaceID, Plus v2 and Portrait. Kind and base are recognised by the shapes "
            "in the file.",
            search_aliases=[
                "diffsfsr",
                "ip-adapter faceid",
                "faceid plus v2",
                "faceid portrait",
                "faceid sdxl",
                "fineface",
                "arc2face",
                "exp_adapter",
                "expression adapter",
                "face adapter",
                "ipadapter",
            ],
            inputs=[
                io.Combo.Input(
                    "adapter_name",
                    options=adapter_names(),
                    tooltip="A file in models/sfsr, the bundled adapter of the tiny world, or a "
                    "published adapter in models/ipadapter. Of FineFace's two files choose either; "
                    "the other must be in the same folder.",
                ),
                io.Combo.Input(
                    "plus_version",
                    options=[BY_NAME, PLUS, PLUS_V2],
                    default=BY_NAME,
                    optional=True,
                    tooltip="FaceID-Plus and Plus v2 files contain the same names and shapes; only "
                    "the file name tells them apart. Choose here if yours was renamed. Ignored for "
                    "other files.",
                ),
            ],
            outputs=[
                output(SFSRAdapterSocket, "adapter", "For Apply SFSR."),
            ],
        )

    @classmethod
    def validate_inputs(cls, adapter_name: str | None = None) -> bool | str:
        return found(adapter_files, adapter_name)

    @classmethod
    def fingerprint_inputs(cls, adapter_name: str, plus_version: str = BY_NAME) -> str:
        try:
            return f"{file_mark(adapter_path(adapter_name))} {plus_version}"
        except ModelFileError:
            return ""  # the error is raised when the node runs

    @classmethod
    def execute(cls, adapter_name: str, plus_version: str = BY_NAME) -> io.NodeOutput:
        path = adapter_path(adapter_name)
        if adapter_name.startswith(_OTHERS):
            from ...sfsr.ip_adapter.load import load_published

            shortcut = None if plus_version == BY_NAME else plus_version == PLUS_V2
            return io.NodeOutput(LoadedSFSR(adapter_name, load_published(path, shortcut=shortcut)))
        from ...sfsr.adapter import load_adapter

        return io.NodeOutput(LoadedSFSR(adapter_name, load_adapter(path)))
