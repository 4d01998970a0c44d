"""Text with an identity in it, on a transformers CLIP text encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import CLIPTextModel

from ..demo.vocabulary import encode
from ..dense_face.identity_token import IdentityToken

PLACEHOLDER = encode("*")[0]


def encode_text(
    text_encoder: CLIPTextModel,
    ids: Tensor,
    token: IdentityToken | None = None,
    identity: Tensor | None = None,
) -> Tensor:
    """Context [B, L, D] of token numbers [B, L], last hidden state after the final norm.

    Args:
        text_encoder: The base's text encoder; left as it was.
        ids: Token numbers.
        token: Puts ``identity`` [B or 1, 512] at every ``*``; None leaves ``*`` a plain word.
    """
    if token is None:
        return text_encoder(ids).last_hidden_state
    placed = token

    def replace(_module: nn.Module, _args: Any, embeds: Tensor) -> Tensor:
        return placed.replace(embeds, ids, PLACEHOLDER, identity)

    handle = text_encoder.get_input_embeddings().register_forward_hook(replace)
    try:
        return text_encoder(ids).last_hidden_state
    finally:
        handle.remove()
