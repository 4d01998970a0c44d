"""Arc2Face's prompts on the host's CLIP, by its mechanism for textual inversion.

Host objects used: ``CLIP.tokenize``, ``CLIP.patcher``, ``ModelPatcher.cached_patcher_init``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ....errors import IncompatibleError
from ....faces.identity import Identity
from ....sfsr.arc2face.prompt import ID_TOKEN, SENTENCE, identity_embedding
from ..dense_face.text import SD1_KEY, encode_prompt, encode_with_vectors, text_width

NAME = "Encode Arc2Face Identity"
_OF_CHECKPOINT = "load_checkpoint_clip_patcher"
"""The host's loader of a text encoder that is part of a checkpoint."""


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
    return encode_with_vectors(clip, SENTENCE, ID_TOKEN, vectors), encode_prompt(clip, "")


def encoder_file(clip: Any) -> tuple[str, bool]:
    """Name of the file that a CLIP comes from, and whether it is part of a checkpoint.

    Checkpoints hold ordinary text encoders. Both as far as the host keeps them: else ("", False).
    """
    made = getattr(clip.patcher, "cached_patcher_init", None)
    if not made or not made[1]:
        return "", False
    files = made[1][0]
    names = [files] if isinstance(files, str | Path) else list(files)
    of_checkpoint = getattr(made[0], "__name__", "") == _OF_CHECKPOINT
    return ", ".join(Path(name).name for name in names), of_checkpoint
