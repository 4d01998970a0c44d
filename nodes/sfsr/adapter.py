"""SFSR's adapter: load it, put identity, expression and scene on a MODEL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...demo.bundled import SFSR_FILE, WEIGHTS
from ...errors import ModelFileError
from ..host.folders import (
    BUNDLED,
    IP_ADAPTERS,
    IP_ENDINGS,
    file_mark,
    full_path,
    list_files,
    places,
)
from ..images import checked_mask
from ..inputs import percent
from ..sockets import Expressions, ExpressionSocket, IdentitySocket, People
from .sockets import BackgroundSocket, LoadedSFSR, SceneBackground, SFSRAdapterSocket

if TYPE_CHECKING:
    from torch import Tensor

FOLDER = "sfsr"
CATEGORY = "face/sfsr"
NAME = "Apply SFSR"
TINY_ADAPTER = WEIGHTS / SFSR_FILE
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
            fix="Put an SFSR adapter there, or ip-adapter-faceid_sd15 into models/ipadapter, and "
            "reload the lists",
        )
    if name.startswith(_OTHERS):
        return full_path(IP_ADAPTERS, name.removeprefix(_OTHERS), "IP-Adapter")
    return full_path(FOLDER, name, "SFSR adapter")


class LoadSFSRAdapter(io.ComfyNode):
    """File -> adapter."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_LoadAdapter",
            display_name="Load SFSR Adapter",
            category=CATEGORY,
            description="Loads an adapter that draws who and which expression at once. "
            "IP-Adapter-FaceID files of Stable Diffusion 1.5 work as its identity half.",
            search_aliases=["diffsfsr", "ip-adapter faceid", "expression adapter", "face adapter"],
            inputs=[
                io.Combo.Input(
                    "adapter_name",
                    options=adapter_names(),
                    tooltip="A file in models/sfsr, the small one that comes with the pack for its "
                    "own tiny world, or ip-adapter-faceid_sd15 in models/ipadapter.",
                )
            ],
            outputs=[
                SFSRAdapterSocket.Output(
                    "adapter", display_name="adapter", tooltip="For Apply SFSR."
                )
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, adapter_name: str) -> str:
        try:
            return file_mark(adapter_path(adapter_name))
        except ModelFileError:
            return ""  # told when the node runs

    @classmethod
    def execute(cls, adapter_name: str) -> io.NodeOutput:
        path = adapter_path(adapter_name)
        if adapter_name.startswith(_OTHERS):
            from ...sfsr.faceid_file import load_faceid

            found = load_faceid(path)
            return io.NodeOutput(LoadedSFSR(adapter_name, found.adapter, found.lora))
        from ...sfsr.adapter import load_adapter

        return io.NodeOutput(LoadedSFSR(adapter_name, load_adapter(path)))


class ApplySFSR(io.ComfyNode):
    """MODEL + adapter + who + which face + where -> MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SFSR_Apply",
            display_name=NAME,
            category=CATEGORY,
            description="The model draws this person with this expression, in this scene. Works "
            "beside Apply Dense-Face Adapter, its pose control, IP-Adapter and LoRA, in either "
            "order. With both weights 0 and no background the model stays as it is.",
            search_aliases=["expression transfer", "reenactment", "face swap", "emotion", "faceid"],
            inputs=[
                io.Model.Input("model", tooltip="The base model the adapter was made for."),
                SFSRAdapterSocket.Input("adapter", tooltip="From Load SFSR Adapter."),
                IdentitySocket.Input(
                    "identity",
                    tooltip="Who is to be drawn: from Encode Identity, with the adapter's own face "
                    "encoder.",
                ),
                io.Float.Input(
                    "balance",
                    default=0.0,
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    tooltip="0: identity and expression count fully. Towards -1 the expression "
                    "fades, towards 1 the identity.",
                ),
                _weight("identity", "Too little likeness: more; waxy or broken faces: less."),
                _weight("expression", "Above 1 exaggerates."),
                percent("identity_start_percent", 0.0, "the identity sets in"),
                percent("identity_end_percent", 1.0, "the identity stops"),
                percent(
                    "expression_start_percent",
                    0.3,
                    "the expression sets in: first who it is, then what the face does",
                ),
                percent("expression_end_percent", 1.0, "the expression stops"),
                io.Boolean.Input(
                    "keep_identity_out",
                    default=False,
                    tooltip="Take out of the expression what points the way of the identity. Try "
                    "it where an expression changes who it is.",
                ),
                ExpressionSocket.Input(
                    "expression",
                    optional=True,
                    tooltip="What the face does: from a word, an image, sliders. One for all "
                    "images, or one each (Expression Travel).",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where identity and expression act: white = act, black = plain model. "
                    "Covers the whole image, whatever its size.",
                ),
                BackgroundSocket.Input(
                    "background",
                    optional=True,
                    tooltip="The scene around the new face: from SFSR Background.",
                ),
                _further("identity_2"),
                _further("identity_3"),
            ],
            outputs=[
                io.Model.Output(
                    "model",
                    display_name="model",
                    tooltip="The model with person, expression and scene on it.",
                )
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        adapter: LoadedSFSR,
        identity: People,
        balance: float,
        identity_weight: float,
        expression_weight: float,
        identity_start_percent: float,
        identity_end_percent: float,
        expression_start_percent: float,
        expression_end_percent: float,
        keep_identity_out: bool,
        expression: Expressions | None = None,
        mask: Tensor | None = None,
        background: SceneBackground | None = None,
        identity_2: People | None = None,
        identity_3: People | None = None,
    ) -> io.NodeOutput:
        from ...sfsr.guidance import balance_weights
        from ..host.sfsr.apply import Scene, SFSRInputs, apply_sfsr
        from ..host.sfsr.sources import EXPRESSIONS, IDENTITIES, Source

        who, face = balance_weights(balance)
        people = (identity, *(more for more in (identity_2, identity_3) if more is not None))
        sources = [
            Source(
                IDENTITIES,
                adapter.identity(people),
                who * identity_weight,
                identity_start_percent,
                identity_end_percent,
                adapter.absent,
            )
        ]
        if expression is not None:
            read = adapter.expression(expression, people if keep_identity_out else None)
            start, end = expression_start_percent, expression_end_percent
            sources.append(Source(EXPRESSIONS, read, face * expression_weight, start, end))
        inputs = SFSRInputs(
            adapter.adapter.layers,
            adapter.adapter.layout.width,
            tuple(sources),
            None if mask is None else checked_mask(mask, NAME),
            None if background is None else Scene(background.channels, adapter.hint(background)),
            adapter.lora,
        )
        return io.NodeOutput(apply_sfsr(model, inputs))


def _weight(of: str, tip: str) -> Any:
    return io.Float.Input(
        f"{of}_weight",
        default=1.0,
        min=0.0,
        max=3.0,
        step=0.05,
        tooltip=f"Strength of the {of}: 1 = as trained, 0 = absent. {tip}",
    )


def _further(name: str) -> Any:
    return IdentitySocket.Input(
        name,
        optional=True,
        tooltip="The same people as another encoder sees them, for adapters that read several.",
    )
