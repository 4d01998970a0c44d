"""What the UNet reads of the words and of the person in them, for both halves of the guidance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ...dense_face.identity_token import IdentityToken
from ...dense_face.prompt import PLACEHOLDER
from ...faces.identity import Identity
from ..arc2face import encode_prompt, prompt_ids
from ..base import Base
from ..sdxl.conditions import sdxl_conditions
from ..sdxl.load import SDXLBase
from ..single_file import Tokenize
from ..text import encode_text


class Read(NamedTuple):
    """contexts: [2, L, D], of the half without prompt first. added: SDXL's added conditions
    [2, ...]; None on other bases.
    """

    contexts: Tensor
    added: Mapping[str, Tensor] | None = None


def read_words(
    base: Base,
    tokenize: Tokenize,
    texts: tuple[str, str],
    size: int,
    device: torch.device,
    token: IdentityToken | None = None,
    person: Identity | None = None,
) -> Read:
    """The negative prompt, then the prompt.

    Args:
        size: Pixels of a side of the image, which SDXL reads.
        token: Puts the person at the prompt's ``*``; Stable Diffusion 1.5 only.
    """
    ids = tokenize(texts).to(device)
    if isinstance(base, SDXLBase):
        conditions = sdxl_conditions(base, ids, size)
        return Read(conditions.contexts, conditions.added())
    encoder = base.text_encoder
    if token is None or person is None:
        return Read(encode_text(encoder, ids))
    star = int(tokenize([PLACEHOLDER])[0, 1])
    who = person.vector[None].to(device)
    prompt = encode_text(encoder, ids[1:], token, who, placeholder=star)
    return Read(torch.cat([encode_text(encoder, ids[:1]), prompt]))


def read_person(base: Base, person: Identity | None, device: torch.device) -> Read:
    """Arc2Face's empty prompt, then the person's."""
    text = base.text_encoder
    sentences = [prompt_ids(text, which).to(device) for which in (False, True)]
    both = zip(sentences, (None, person), strict=True)
    return Read(torch.cat([encode_prompt(text, ids, who) for ids, who in both]))
