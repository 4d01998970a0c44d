"""The identity token in a prompt, by the host's mechanism for textual inversion.

The host's tokenizer gives (token, weight) pairs, and its text model accepts a vector instead of a
token id. The vector replaces the placeholder in that list; nothing is patched, and weights such as
``(*:1.2)`` work as for any word.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....dense_face.prompt import PLACEHOLDER, spaced_prompt
from ....errors import IncompatibleError

_ENCODE = "Encode Prompt with Identity"
SD1_KEY = "l"
"""The host's key of CLIP-L, the only text encoder of an SD1.x CLIP."""


def encode_prompt(clip: Any, text: str) -> list[Any]:
    """CONDITIONING of a prompt, as CLIP Text Encode makes it."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def encode_with_identity(clip: Any, text: str, vectors: Tensor) -> list[Any]:
    """CONDITIONING of a prompt whose ``*`` is replaced by a vector.

    Args:
        vectors: [N, D] token embeddings, one per person; N > 1 gives a conditioning of batch N.

    Raises:
        InputError: The prompt has no ``*``, or it touches another word.
        IncompatibleError: The text encoder is not SD1.x's, or its width is not D.
    """
    own = text_width(clip, _ENCODE)
    if own != vectors.shape[-1]:  # which the host would silently drop
        raise IncompatibleError(
            f"the identity token is {vectors.shape[-1]} wide, the text encoder {own}",
            where=_ENCODE,
            fix="Use adapter and CLIP of the same base model",
        )
    text = spaced_prompt(text)
    number = _placeholder_number(clip)
    return encode_with_vectors(clip, text, number, vectors)


def encode_with_vectors(clip: Any, text: str, number: int, vectors: Tensor) -> list[Any]:
    """CONDITIONING of a prompt in which vectors take the place of a token, wherever it stands.

    Args:
        number: The token's id.
        vectors: [N, D], as wide as the text encoder (:func:`text_width`); one per person.
    """
    parts = [_encode_one(clip, text, number, vector) for vector in vectors]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _encode_one(clip: Any, text: str, number: int, vector: Tensor) -> list[Any]:
    tokens = clip.tokenize(text)
    for chunk in tokens[SD1_KEY]:
        for i, (token, *rest) in enumerate(chunk):
            # Textual inversions are already vectors among the ids.
            if not torch.is_tensor(token) and token == number:
                chunk[i] = (vector, *rest)
    return clip.encode_from_tokens_scheduled(tokens)


def _placeholder_number(clip: Any) -> int:
    """The id of ``*`` in the host's tokenizer (265 in CLIP-L)."""
    first = clip.tokenize(PLACEHOLDER)[SD1_KEY][0]
    return int(first[1][0])


def text_width(clip: Any, where: str) -> int:
    """Width of the text encoder's embeddings.

    Raises:
        IncompatibleError: It is not Stable Diffusion 1.x's; ``where`` names the node.
    """
    model = getattr(clip.cond_stage_model, "clip_" + SD1_KEY, None)
    if model is None or set(clip.tokenize("")) != {SD1_KEY}:
        raise IncompatibleError(
            "the connected CLIP is not of Stable Diffusion 1.x",
            where=where,
            fix="Connect the CLIP of the checkpoint that the adapter was made for",
        )
    return int(model.transformer.get_input_embeddings().embedding_dim)


def _joined(parts: list[list[Any]]) -> list[Any]:
    """Conditionings of single prompts as one of batch N; all have the same length."""
    first = parts[0]
    joined = []
    for i, (_, options) in enumerate(first):
        options = dict(options)
        pooled = [part[i][1].get("pooled_output") for part in parts]
        if all(torch.is_tensor(p) for p in pooled):
            options["pooled_output"] = torch.cat(pooled)
        joined.append([torch.cat([part[i][0] for part in parts]), options])
    return joined
