"""A folder of goldens of published adapters (docs/reference/parity.md 9, 10) as one object.

Kinds ``unet``, ``faceid``, ``fineface`` and ``arc2face`` of its ``config.json``. The network is the
one of the folder ``unet`` beside it. Widths, timesteps and strengths are read from the files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from ...errors import ModelFileError
from ...faces.encoders.names import ARC2FACE as ARC2FACE_ENCODER
from ...faces.identity import Identity
from ...pipelines.arc2face import encode_prompt, read_text_encoder
from ...pipelines.source_attention import layers_of
from ...sfsr.ip_adapter.arc2face import FlameAdapter
from ...sfsr.ip_adapter.fineface import ExpressionAdapter
from ...sfsr.ip_adapter.identity_adapter import IdentityAdapter
from ...sfsr.ip_adapter.load import load_published
from ...sfsr.ip_adapter.places import Target, attention_place, diffusers_attention, in_file_order
from ...storage import read_weights
from .fixture import read_json

UNET = "unet"
ARC2FACE = "arc2face"
KINDS = (UNET, "faceid", "fineface")
"""Computed by ``published_outputs``; ``ARC2FACE`` by ``arc2face_outputs``."""
IDENTITY_FILES = {
    "faceid": "ip-adapter-faceid_sd15.bin",
    "plus": "ip-adapter-faceid-plus_sd15.bin",
    "plusv2": "ip-adapter-faceid-plus_sd15.bin",
    "portrait": "ip-adapter-faceid-portrait_sd15.bin",
    "portrait_v11": "ip-adapter-faceid-portrait-v11_sd15.bin",
}
"""Plus and Plus v2 are the same numbers; the kind decides on the shortcut."""
_INPUTS = ("in.", "te.in.")
_FINEFACE = "sd15_au_encoder.ckpt"


@dataclass(frozen=True, eq=False)
class PublishedFixture:
    """Inputs, goldens, network and adapters of one folder, all in float32.

    target: The network's cross-attentions and the width of its text, in the files' order.
    """

    folder: Path
    kind: str
    tensors: dict[str, Tensor]
    unet: UNet2DConditionModel
    target: Target
    _adapters: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, folder: str | Path) -> PublishedFixture:
        """Read settings, tensors and the network; adapters are read when they are used.

        Raises:
            ModelFileError: A file is missing or unreadable, or does not fit the others.
        """
        folder = Path(folder)
        kind = str(read_json(folder / "config.json").get("kind"))
        tensors = _float32(folder / "forward.safetensors")
        unet = _unet(folder.parent / UNET)
        width = int(unet.config["cross_attention_dim"])
        target = Target(in_file_order(layers_of(unet)), width, _vector_width(tensors))
        return cls(folder, kind, tensors, unet, target)

    def goldens(self) -> dict[str, Tensor]:
        """Everything that has to be computed, by name."""
        return {name: t for name, t in self.tensors.items() if not name.startswith(_INPUTS)}

    def identity(self, name: str) -> IdentityAdapter:
        """One of ``IDENTITY_FILES``.

        Raises:
            FacePackError: Its file is missing, damaged or of another kind.
        """
        if name not in self._adapters:
            path = self.folder / IDENTITY_FILES[name]
            found = load_published(path, shortcut=name == "plusv2", target=self.target)
            if not isinstance(found, IdentityAdapter):
                raise ModelFileError(
                    "this is no identity adapter", where=str(path), fix="Copy the fixture again"
                )
            self._adapters[name] = found
        return self._adapters[name]

    def expression(self) -> ExpressionAdapter:
        """FineFace; raises FacePackError as :meth:`identity`."""
        if _FINEFACE not in self._adapters:
            path = self.folder / _FINEFACE
            found = load_published(path, target=self.target)
            if not isinstance(found, ExpressionAdapter):
                raise ModelFileError(
                    "this is no expression adapter", where=str(path), fix="Copy the fixture again"
                )
            self._adapters[_FINEFACE] = found
        return self._adapters[_FINEFACE]

    def flame(self, form: str) -> FlameAdapter:
        """Arc2Face's expression adapter: ``mlp`` as published, or ``linear``.

        Raises:
            FacePackError: As :meth:`identity`.
        """
        if form not in self._adapters:
            path = self.folder / "exp_adapter" / f"exp_adapter_{form}.bin"
            found = load_published(path, target=self.target)
            if not isinstance(found, FlameAdapter):
                raise ModelFileError(
                    "this is no adapter of FLAME expressions",
                    where=str(path),
                    fix="Copy the fixture again",
                )
            self._adapters[form] = found
        return self._adapters[form]

    @cached_property
    def text_encoder(self) -> Any:
        """Arc2Face's.

        Raises:
            ModelFileError: Its file or settings are missing or do not fit each other.
        """
        config = read_json(self.folder / "encoder" / "config.json")
        path = self.folder / "encoder" / "pytorch_model.bin"
        return read_text_encoder(path, int(config["num_attention_heads"]))

    def identity_context(self, row: int | None) -> Tensor:
        """Output [1, T, D] of Arc2Face's text encoder for a person; None: for the empty prompt."""
        if row is None:
            return encode_prompt(self.text_encoder, self.tensors["te.in.empty_ids"].long())
        who = Identity(self.tensors["te.in.id"][row], ARC2FACE_ENCODER)
        config = read_json(self.folder / "encoder" / "config.json")
        number = int(config["fixture_vocabulary"]["id"])
        return encode_prompt(self.text_encoder, self.tensors["te.in.ids"].long(), who, number)

    def text(self, half: str) -> Tensor:
        """The context [1, T, W] of ``cond`` or ``uncond``."""
        if self.kind == ARC2FACE:
            made = self.identity_context(0 if half == "cond" else None)
            return made[..., : self.target.width]
        return self.tensors["in.text" if half == "cond" else "in.uncond_text"]

    def block(self, number: int) -> str:
        """The block of an attention by its number in the files: 5 -> ``input_blocks.4``."""
        return tuple(self.target.layers)[number // 2]

    def attention(self, number: int) -> Any:
        """The diffusers module of an attention, self (even) or cross (odd)."""
        place = diffusers_attention(attention_place(number, self.target))
        return self.unet.get_submodule(place)


def _unet(folder: Path) -> UNet2DConditionModel:
    """The network of a folder, frozen.

    Raises:
        ModelFileError: Settings or weights are missing or do not fit each other.
    """
    try:
        unet = UNet2DConditionModel(**read_json(folder / "config.json")["unet"])
        unet.load_state_dict(_float32(folder / "weights_fp16.safetensors"))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelFileError(
            f"the network of the fixture cannot be built: {str(error).splitlines()[0]}",
            where=str(folder),
            fix="Copy the fixture again",
        ) from error
    return unet.eval().requires_grad_(False)


def _vector_width(tensors: dict[str, Tensor]) -> int:
    """Length of the face vectors; that of real files where the folder has none."""
    widths = [t.shape[-1] for name, t in tensors.items() if name.startswith("in.id")]
    return int(widths[0]) if widths else Target.vector


def _float32(path: Path) -> dict[str, Tensor]:
    """Copied, because a file's buffers are not aligned and a kernel may then sum in another order
    (docs/reference/parity.md 11).
    """
    return {
        name: tensor.to(torch.float32).clone() for name, tensor in read_weights(path)[0].items()
    }
