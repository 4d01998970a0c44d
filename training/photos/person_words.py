"""Captions of photographs with the identity token in place of the person."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...demo.vocabulary import PLACEHOLDER as TINY_PLACEHOLDER
from ...demo.vocabulary import WORDS
from ...dense_face.prompt import PLACEHOLDER, with_placeholder
from ...pipelines.base import Base
from ...pipelines.single_file import Tokenize

_CLIP_STAR, _CLIP_PERSON = 265, 2533
"""Token ids of the placeholder and of the word "person" in CLIP's vocabulary."""


class PersonWords:
    """Token ids of captions with and without the placeholder.

    Args:
        tokenize: Without a tokenizer's folder it gives the empty prompt for every text; then a
            caption with the placeholder is the placeholder alone.
        captions: Whether there is a tokenizer.

    ``placeholder`` and ``person`` are the token ids of ``*`` and of the word "person".
    """

    def __init__(self, base: Base, tokenize: Tokenize, *, captions: bool) -> None:
        self._tokenize = tokenize
        tiny = base.text_encoder.config.vocab_size == len(WORDS)
        self._captions = captions or tiny
        self.placeholder = TINY_PLACEHOLDER if tiny else _CLIP_STAR
        self.person = WORDS.index("person") if tiny else _CLIP_PERSON

    def ids(self, captions: Sequence[str], known: Sequence[bool], empty: Sequence[bool]) -> Tensor:
        """[B, L] of captions: with the placeholder where the person is known, or empty."""
        if self._captions:
            rows = zip(captions, known, empty, strict=True)
            return self._tokenize(
                ["" if e else with_placeholder(text) if k else text for text, k, e in rows]
            )
        ids = self._tokenize([""] * len(captions)).clone()
        shown = torch.tensor([k and not e for k, e in zip(known, empty, strict=True)])
        ids[shown, 1] = self.placeholder
        return ids

    def prompts(self, texts: Sequence[str]) -> Tensor:
        """[B, L] of prompts as they are, with the placeholder where they have it."""
        if self._captions:
            return self._tokenize(texts)
        named = [PLACEHOLDER in text for text in texts]
        return self.ids(texts, named, [False] * len(texts))
