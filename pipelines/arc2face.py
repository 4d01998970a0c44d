"""Arc2Face on diffusers: its UNet, its text encoder, and the prompts of a person and of nobody.

Source: docs/reference/published_weights.md A1 to A4.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from ..errors import IncompatibleError, ModelFileError
from ..faces.encoders.weight_file import read_network
from ..faces.identity import Identity
from ..sfsr.arc2face.prompt import ID_TOKEN, SENTENCE_IDS, identity_embedding, insert_identity
from ..state_dict import check_state_dict
from ..storage import read_weights
from .base import Base, new_unet
from .filling import fill
from .layout import UNetLayout
from .text import encode_embeddings

UNET_FILE = Path("arc2face", "diffusion_pytorch_model.safetensors")
TEXT_FILE = Path("encoder", "pytorch_model.bin")
REFERENCE_FILE = Path("ref_adapter", "pytorch_lora_weights.safetensors")
"""In Arc2Face's folder: its two networks, and the LoRA of its reference adapter."""
_SAME = 1e-3
"""Largest difference, relative to the largest weight, of a copy in half precision."""
_HEAD = 64
"""Width of an attention head in CLIP."""
_PREFIX = "text_model."
_TABLE, _PLACES = "embeddings.token_embedding.weight", "embeddings.position_embedding.weight"
_FORWARD = "encoder.layers.0.mlp.fc1.weight"


def load_arc2face(folder: str | Path, base: Base) -> Base:
    """A base with Arc2Face's UNet and text encoder; the autoencoder stays.

    Args:
        folder: With ``arc2face`` and ``encoder`` in it, as published.
        base: Stable Diffusion 1.5, whose sizes the UNet has.

    Raises:
        ModelFileError: A file is missing or damaged, or holds another network.
        IncompatibleError: UNet and text encoder are of different widths.
    """
    path = Path(folder) / UNET_FILE
    text_encoder = read_text_encoder(Path(folder) / TEXT_FILE)
    tensors, _ = read_weights(path)
    layout = UNetLayout.from_diffusers(base.unet.config)
    with torch.device("meta"):  # an inpainting base has more input channels
        unet = new_unet(replace(layout, in_channels=int(base.unet.config["out_channels"])))
    try:
        fill(unet, tensors)
    except RuntimeError as error:
        raise ModelFileError(
            "the file holds no UNet of Stable Diffusion 1.5 in diffusers' layout",
            where=str(path),
            fix="Use arc2face/diffusion_pytorch_model.safetensors of FoivosPar/Arc2Face",
        ) from error
    width, own = unet.config["cross_attention_dim"], text_encoder.config.hidden_size
    if width != own:
        raise IncompatibleError(
            f"the text encoder is {own} wide, the UNet reads {width}",
            where=str(folder),
            fix="Use both as published in FoivosPar/Arc2Face",
        )
    return replace(base, unet=unet, text_encoder=text_encoder)


def ordinary_parts(base: Base, arc2face: Base) -> list[str]:
    """Which of Arc2Face's two networks are those of an ordinary base.

    Both of the published ones were trained further; a copy of the base's own in their place gives
    images of anybody.

    Args:
        base, arc2face: The argument and the result of :func:`load_arc2face`.
    """
    pairs = {
        "the UNet": (base.unet, arc2face.unet, "mid_block.attentions.0.proj_in.weight"),
        "the text encoder": (base.text_encoder, arc2face.text_encoder, _FORWARD),
    }
    return [name for name, (one, other, end) in pairs.items() if _alike(one, other, end)]


def _alike(one: torch.nn.Module, other: torch.nn.Module, end: str) -> bool:
    """Whether two networks have the same weight, whose name ends so."""
    own, theirs = (
        next((t for name, t in net.state_dict().items() if name.endswith(end)), None)
        for net in (one, other)
    )
    if own is None or theirs is None or own.shape != theirs.shape:
        return False
    return bool((own.float() - theirs.float()).abs().max() <= _SAME * own.float().abs().max())


def read_text_encoder(path: str | Path, heads: int | None = None) -> CLIPTextModel:
    """A CLIP text model of any size from its file, in float32 and frozen.

    Args:
        path: ``encoder/pytorch_model.bin``, or the same as safetensors; no code in it is run.
        heads: Of its attentions; None: one for each 64 channels, as in CLIP-L.

    Raises:
        ModelFileError: The file is missing, damaged, or no CLIP text model.
    """
    found = read_network(path, "Arc2Face's text encoder")
    own = {name.removeprefix(_PREFIX): tensor for name, tensor in found.items()}
    own.pop("embeddings.position_ids", None)
    try:
        vocabulary, width = own[_TABLE].shape
        with torch.device("meta"):
            encoder = CLIPTextModel(
                CLIPTextConfig(
                    vocab_size=vocabulary,
                    hidden_size=width,
                    intermediate_size=len(own[_FORWARD]),
                    num_hidden_layers=len({n.split(".")[2] for n in own if ".layers." in n}),
                    num_attention_heads=heads or width // _HEAD,
                    max_position_embeddings=len(own[_PLACES]),
                    hidden_act="quick_gelu",
                    bos_token_id=vocabulary - 2,
                    eos_token_id=vocabulary - 1,
                )
            )
        # transformers 4 prefixes the names, transformers 5 does not.
        prefix = _PREFIX if any(n.startswith(_PREFIX) for n in encoder.state_dict()) else ""
        state = {prefix + name: tensor for name, tensor in own.items()}
        check_state_dict(encoder, state, "the text encoder")  # before it takes memory
        fill(encoder, state)
    except Exception as error:  # a file of something else may raise anything
        raise ModelFileError(
            "the file holds no CLIP text model that can be used",
            where=str(path),
            fix="Use encoder/pytorch_model.bin of FoivosPar/Arc2Face",
        ) from error
    return encoder


def prompt_ids(text_encoder: CLIPTextModel, sentence: bool = True) -> Tensor:
    """Token ids [1, L] of the fixed sentence, or of the empty prompt."""
    start, *_, end = SENTENCE_IDS
    ids = list(SENTENCE_IDS) if sentence else [start]
    length = text_encoder.config.max_position_embeddings
    return torch.tensor([ids + [end] * (length - len(ids))])


@torch.no_grad()
def encode_prompt(
    text_encoder: CLIPTextModel,
    ids: Tensor,
    identity: Identity | None = None,
    id_token: int = ID_TOKEN,
) -> Tensor:
    """Context [B, L, D] of token ids [B, L]: the last hidden state after the final norm.

    Args:
        identity: Takes the place of the word "id"; None leaves the prompt as it is.

    Raises:
        IncompatibleError: The identity is of another recogniser than Arc2Face's.
        InputError: There is not exactly one "id" in a row.
    """
    if identity is None:
        return text_encoder(ids).last_hidden_state
    embedding = identity_embedding(identity, text_encoder.config.hidden_size)
    return encode_embeddings(
        text_encoder, ids, lambda embeds: insert_identity(embeds, ids, embedding, id_token)
    )
