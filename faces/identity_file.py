"""Identity files: safetensors with the name of the encoder in the metadata."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import InputError, ModelFileError
from ..storage import read_weights, write_weights
from .identity import Identity

FORMAT = "denseface-identity/1"
_VECTORS = "identities"
_MAX_COUNT = 4096


def save_identities(path: str | Path, identities: Sequence[Identity]) -> None:
    """Write identities of one encoder: one person, or one per image of a batch.

    Args:
        path: The ``.safetensors`` file; an existing file is replaced.

    Raises:
        InputError: There are no identities, or the file cannot be written.
        IncompatibleError: They come from different encoders.
    """
    if not identities:
        raise InputError("no identity was given", fix="Connect at least one reference image")
    encoder = identities[0].encoder
    for other in identities[1:]:
        other.require(encoder)
    vectors = torch.stack([identity.vector for identity in identities])
    write_weights(path, {_VECTORS: vectors}, {"format": FORMAT, "encoder": encoder})


def load_identities(path: str | Path) -> tuple[Identity, ...]:
    """Read the identities of a file.

    Raises:
        ModelFileError: The file is missing, truncated or altered, or of another kind.
    """
    tensors, metadata = read_weights(path)
    vectors, encoder = tensors.get(_VECTORS), metadata.get("encoder", "")
    if metadata.get("format") != FORMAT or vectors is None or not encoder:
        raise ModelFileError(
            f"the file holds no identity (format={metadata.get('format')})",
            where=str(path),
            fix="Choose a file that Save Identity wrote",
        )
    if vectors.ndim != 2 or not 0 < len(vectors) <= _MAX_COUNT:
        raise ModelFileError(
            f"the identities have shape {list(vectors.shape)}",
            where=str(path),
            fix="Save them again",
        )
    try:
        return tuple(Identity(vector, encoder) for vector in vectors)
    except InputError as error:
        raise ModelFileError(error.what, where=str(path), fix="Save it again") from error
