"""Dense-Face's released checkpoint as files that the loaders read."""

from __future__ import annotations

from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ...errors import InputError, ModelFileError
from ...published_files import BY_KEY
from ..host.folders import full_path, list_files, places
from ..host.missing_files import found
from ..inputs import output

CATEGORY = "face/dense_face"
NAME = "Convert Dense-Face Release"
CHECKPOINTS = "checkpoints"
ENDINGS = (".ckpt", ".safetensors")
NONE_YET = "none yet"
"""The only entry of the list where there is no checkpoint."""
ADAPTER, ENCODER = "dense_face.safetensors", "ir_se50.safetensors"
"""What is written, into models/dense_face."""


def checkpoint_path(name: str) -> Path:
    """The file of an entry in the list; raises ModelFileError."""
    release = BY_KEY["dense_face"]
    if name == NONE_YET:
        raise ModelFileError(
            "there is no checkpoint yet",
            where=places(CHECKPOINTS),
            fix=f"Put the authors' checkpoint there (5.7 GB; {release.page}) and reload the lists",
        )
    return full_path(CHECKPOINTS, name, "checkpoint")


class ConvertRelease(io.ComfyNode):
    """The authors' checkpoint -> adapter and face encoder in models/dense_face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_ConvertRelease",
            display_name=NAME,
            category=CATEGORY,
            description="Converts the checkpoint that the authors of Dense-Face released, once: "
            "writes the adapter with its pose branch and the face encoder IR-SE50 into "
            "models/dense_face. Nothing in the checkpoint is run.",
            search_aliases=["released checkpoint", "convert checkpoint", "extract adapter", "ckpt"],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=list_files(CHECKPOINTS, suffixes=ENDINGS) or [NONE_YET],
                    tooltip="The authors' file of 5.7 GB (epoch=....ckpt), in models/checkpoints.",
                ),
                io.Boolean.Input(
                    "half_precision",
                    default=True,
                    tooltip="Half the size; an image differs by less than one can see. Off: the "
                    "numbers as released.",
                ),
            ],
            outputs=[output(io.String, "report", "The files that were written, and their sizes.")],
            is_output_node=True,
            not_idempotent=True,
        )

    @classmethod
    def validate_inputs(cls, checkpoint: str | None = None) -> bool | str:
        return found(checkpoint_path, checkpoint)

    @classmethod
    def execute(cls, checkpoint: str, half_precision: bool) -> io.NodeOutput:
        import torch

        from ...dense_face.checkpoints.convert import Plan, convert
        from ..host.execution import progress

        folder = Path(folder_paths.models_dir) / "dense_face"
        adapter, encoder = folder / ADAPTER, folder / ENCODER
        if adapter.exists():
            raise InputError(
                f"{ADAPTER} is there already",
                where=str(folder),
                fix="Choose it in Load Dense-Face Adapter, or move it away to convert again",
            )
        plan = Plan(
            adapter,
            ir_se50=None if encoder.exists() else encoder,
            dtype=torch.float16 if half_precision else torch.float32,
        )
        written = convert(checkpoint_path(checkpoint), plan, progress())
        lines = [f"{each.path.name}: {each.nbytes / 1e6:.0f} MB" for each in written]
        report = "\n".join([*lines, f"in {folder}. Reload the lists to choose them."])
        return io.NodeOutput(report, ui=ui.PreviewText(report))
