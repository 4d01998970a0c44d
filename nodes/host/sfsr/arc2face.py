"""Arc2Face's prompts on the host's CLIP, by its mechanism for textual inversion.

Host objects used: ``CLIP.tokenize``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ....errors import IncompatibleError
from ....faces.identity import Identity
from ....sfsr.arc2face.prompt import ID_TOKEN, SENTENCE, identity_embedding
from ..dense_face.text import SD1_KEY, encode_prompt, encode_with_vectors, text_width
from .arc2face_checks import mark_prompt

NAME = "Encode Arc2Face Identity"


def encode_people(clip: Any, people: Sequence[Identity]) -> tuple[list[Any], list[Any]]:
    """CONDITIONING for the people, of batch N, and that for nobody: the empty prompt.

    Raises:
        IncompatibleError: The CLIP is not Stable Diffusion 1.x's, or an identity is of another
            recogniser than Arc2Face's.
    """
    width = text_width(clip, NAME)
    tokens = [token for chunk in clip.tokenize(SENTENCE)[SD1_KEY] for token, *_ in chunk]
    if sum(not torch.is_tensor(token) and token == ID_TOKEN for token in tokens) != 1:
        raise IncompatibleError(
            "the connected CLIP has another vocabulary than CLIP-L",
            where=NAME,
            fix="Connect Load CLIP with Arc2Face's encoder, type stable_diffusion",
        )
    vectors = torch.stack([identity_embedding(person, width) for person in people])
    positive = encode_with_vectors(clip, SENTENCE, ID_TOKEN, vectors)
    return mark_prompt(positive), encode_prompt(clip, "")
