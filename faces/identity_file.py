"""Identities in files: safetensors with the name of the encoder, so that a mismatch is noticed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from ..errors import InputError, ModelFileError
from ..storage import read_weights, write_weights
from .identity import Identity

FORMAT = "denseface-identity/1"
_VECTORS = "identities"
_MOST = 4096


def save_identities(
    path: str | Path, identities: Sequence[Identity], about: Mapping[str, str] | None = None
) -> None:
    """Write identities of one encoder: one person, or one for each image of a batch.

    Args:
        path: Of the ``.safetensors`` file; replaced if it is there.
        about: More metadata.

    Raises:
        InputError: There are none, or the place cannot be written to.
        IncompatibleError: They come from different encoders.
    """
    if not identities:
        raise InputError("no identity was given", fix="Connect at least one reference image")
    encoder = identities[0].encoder
    for other in identities[1:]:
        other.require(encoder)
    vectors = torch.stack([identity.vector for identity in identities])
    about = {**(about or {}), "format": FORMAT, "encoder": encoder}
    write_weights(path, {_VECTORS: vectors}, about)


def load_identities(path: str | Path) -> tuple[Identity, ...]:
    """The identities of a file.

    Raises:
        ModelFileError: The file is missing, truncated or altered, or is another kind of file.
    """
    tensors, metadata = read_weights(path)
    vectors, encoder = tensors.get(_VECTORS), metadata.get("encoder", "")
    if metadata.get("format") != FORMAT or vectors is None or not encoder:
        raise ModelFileError(
            f"the file holds no identity (format={metadata.get('format')})",
            where=str(path),
            fix="Choose a file that Save Identity wrote",
        )
    if vectors.ndim != 2 or not 0 < len(vectors) <= _MOST:
        raise ModelFileError(
            f"the identities have shape {list(vectors.shape)}",
            where=str(path),
            fix="Save them again",
        )
    try:
        return tuple(Identity(vector, encoder) for vector in vectors)
    except InputError as error:
        raise ModelFileError(error.what, where=str(path), fix="Save it again") from error
