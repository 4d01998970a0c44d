"""Dense-Face's adapter: loading it, applying it to a MODEL, and the person in the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ...demo.bundled import DENSE_FACE_FILE, WEIGHTS
from ...errors import IncompatibleError
from ...published_files import BY_KEY
from ..host.folders import BUNDLED, TRAINED, file_mark, full_path, list_files
from ..host.missing_files import found
from ..images import checked_mask
from ..inputs import between, output, percent
from ..sockets import AdapterSocket, IdentitySocket, LoadedAdapter, People

FOLDER = "dense_face"
MODES = ("auto", "weights", "runtime")
CATEGORY = "face/dense_face"
TINY_ADAPTER = WEIGHTS / DENSE_FACE_FILE
ADAPTER_TIP = "From Load Dense-Face Adapter or Train Face Adapter."
IDENTITY_TIP = "The person to draw: from Encode Identity, with the adapter's own face encoder."


def adapter_path(name: str) -> Path:
    """The file of an entry in the adapter list; raises ModelFileError."""
    if name == BUNDLED:
        return TINY_ADAPTER
    trained = name in list_files(TRAINED) and name not in list_files(FOLDER)
    folder = TRAINED if trained else FOLDER
    return full_path(folder, name, "Dense-Face adapter", BY_KEY["dense_face"])


class LoadAdapter(io.ComfyNode):
    """File -> adapter for MODEL and prompt, and the pose branch as a CONTROL_NET."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_LoadAdapter",
            display_name="Load Dense-Face Adapter",
            category=CATEGORY,
            description="Loads a Dense-Face adapter: the adapter itself, which draws a given "
            "person, and the pose control for the core Apply ControlNet nodes.",
            search_aliases=[
                "face adapter",
                "identity adapter",
                "dense-face",
                "pc-adapter",
                "load face model",
            ],
            inputs=[
                io.Combo.Input(
                    "adapter_name",
                    options=[*list_files(FOLDER, bundled=True), *list_files(TRAINED)],
                    tooltip="A file in models/dense_face or output/dense_face, or the bundled one "
                    "for the tiny world.",
                )
            ],
            outputs=[
                output(
                    AdapterSocket,
                    "adapter",
                    "For Apply Dense-Face Adapter and Encode Prompt with Identity.",
                ),
                output(
                    io.ControlNet,
                    "pose_control",
                    "The pose branch as an ordinary control net: for Apply ControlNet, "
                    "together with a pose image.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, adapter_name: str | None = None) -> bool | str:
        return found(adapter_path, adapter_name)

    @classmethod
    def fingerprint_inputs(cls, adapter_name: str) -> str:
        return file_mark(adapter_path(adapter_name))

    @classmethod
    def execute(cls, adapter_name: str) -> io.NodeOutput:
        from ..host.dense_face.adapter_file import load_parts
        from ..host.execution import blocked

        fused, token, control, encoder = load_parts(adapter_path(adapter_name))
        adapter = LoadedAdapter(adapter_name, fused, token, encoder)
        if control is None:
            control = blocked(f"The adapter file {adapter_name} holds no pose branch.")
        return io.NodeOutput(adapter, control)


class ApplyAdapter(io.ComfyNode):
    """MODEL + adapter + identity -> MODEL that draws this person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_ApplyAdapter",
            display_name="Apply Dense-Face Adapter",
            category=CATEGORY,
            description="Face-generation mode: the model draws the given person. Without this "
            "node, or with weight 0, the model is in text-editing mode. Use it together with "
            "Encode Prompt with Identity.",
            search_aliases=[
                "face id",
                "identity",
                "same person",
                "likeness",
                "dense-face",
                "consistent character",
                "instantid",
                "pulid",
                "ip-adapter",
                "keep face",
                "ipadapter",
                "photomaker",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The base model that the adapter was trained for."),
                AdapterSocket.Input("adapter", tooltip=ADAPTER_TIP),
                IdentitySocket.Input("identity", tooltip=IDENTITY_TIP),
                io.Float.Input(
                    "weight",
                    **between(0.0, 3.0, step=0.05, default=1.0),
                    tooltip="Strength: 1 = as trained, 0 = no effect. Raise it for more likeness, "
                    "lower it if faces look waxy or broken.",
                ),
                percent("start_percent", 0.0, "the adapter starts to act"),
                percent("end_percent", 1.0, "the adapter stops"),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="auto",
                    tooltip="How the adapter is computed; the image is the same. weights: merged "
                    "into the model's weights, fastest. runtime: added in each step, for a mask, a "
                    "percent range or an fp8 model. auto: weights where possible.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the adapter acts: white = adapter, black = plain model. "
                    "Stretched over the whole image.",
                ),
            ],
            outputs=[output(io.Model, "model", "The model with the adapter.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        adapter: LoadedAdapter,
        identity: People,
        weight: float,
        start_percent: float,
        end_percent: float,
        mode: str,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        from ..host.dense_face.apply import AdapterScope, apply_adapter

        mask = None if mask is None else checked_mask(mask, "Apply Dense-Face Adapter")
        scope = AdapterScope(weight, start_percent, end_percent, mask)
        biases = adapter.biases(identity)
        return io.NodeOutput(
            apply_adapter(model, adapter.fused, lambda: adapter.deltas, biases, scope, mode)
        )


class EncodePrompt(io.ComfyNode):
    """CLIP + text with a * + identity -> CONDITIONING."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_EncodePrompt",
            display_name="Encode Prompt with Identity",
            category=CATEGORY,
            description="Encodes a prompt in which * stands for the person. Without an identity it "
            "works like CLIP Text Encode (Prompt).",
            search_aliases=["clip text encode", "face prompt", "identity token"],
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoder of the base model."),
                AdapterSocket.Input("adapter", tooltip=ADAPTER_TIP),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    default="a portrait of *",
                    tooltip="The prompt. Write * for the person, separated from other words; "
                    "weights such as (*:1.2) work.",
                ),
                IdentitySocket.Input("identity", optional=True, tooltip=IDENTITY_TIP),
            ],
            outputs=[
                output(
                    io.Conditioning,
                    "conditioning",
                    "The prompt with the person. For the negative prompt use CLIP Text "
                    "Encode (Prompt), for instance with an empty text.",
                )
            ],
        )

    @classmethod
    def execute(
        cls, clip: Any, adapter: LoadedAdapter, text: str, identity: People | None = None
    ) -> io.NodeOutput:
        from ..host.dense_face.text import encode_prompt, encode_with_identity

        if identity is None:
            return io.NodeOutput(encode_prompt(clip, text))
        if adapter.token is None:
            raise IncompatibleError(
                "the adapter file holds no identity token",
                where=adapter.name,
                fix="Use CLIP Text Encode (Prompt) with this adapter",
            )
        return io.NodeOutput(
            encode_with_identity(clip, text, adapter.token(adapter.vectors(identity)))
        )
