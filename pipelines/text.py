"""Texts as context for the UNet: the tiny world's tokenizer, and text encoding with an identity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel

from ..demo.vocabulary import CONTEXT_LENGTH, END, PLACEHOLDER, START, encode
from ..dense_face.identity_token import IdentityToken


def token_ids(texts: Sequence[str]) -> Tensor:
    """Token ids [B, 48] of the tiny world's vocabulary; longer texts are truncated."""
    rows = []
    for text in texts:
        ids = [START, *encode(text)[: CONTEXT_LENGTH - 2]]
        rows.append(ids + [END] * (CONTEXT_LENGTH - len(ids)))
    return torch.tensor(rows)


def encode_text(
    text_encoder: CLIPTextModel,
    ids: Tensor,
    token: IdentityToken | None = None,
    identity: Tensor | None = None,
    placeholder: int = PLACEHOLDER,
) -> Tensor:
    """Context [B, L, D] for token ids [B, L]: the last hidden state after the final norm.

    Args:
        token: Puts ``identity`` [B or 1, 512] at every ``*``; None leaves ``*`` a plain word.
        placeholder: The number of ``*``; the tiny world's by default.
    """
    if token is None:
        return text_encoder(ids).last_hidden_state
    placed = token
    return encode_embeddings(
        text_encoder, ids, lambda embeds: placed.replace(embeds, ids, placeholder, identity)
    )


def encode_embeddings(
    text_encoder: CLIPTextModel, ids: Tensor, change: Callable[[Tensor], Tensor]
) -> Tensor:
    """Context [B, L, D] for token ids [B, L] whose embeddings [B, L, D] are changed.

    The change comes before position embeddings are added.
    """

    def changed(_module: nn.Module, _args: Any, embeds: Tensor) -> Tensor:
        return change(embeds)

    handle = text_encoder.get_input_embeddings().register_forward_hook(changed)
    try:
        return text_encoder(ids).last_hidden_state
    finally:
        handle.remove()
