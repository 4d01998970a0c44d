"""An identity as the prompt of Arc2Face: one word's embedding is the face's vector itself.

    e = [a (512) | zeros (256)];  "photo of a id person", the token embedding of "id" replaced by e

The vector is of unit length and of Arc2Face's own recogniser; there is no projection. Position
embeddings are added afterwards, and the fine-tuned text encoder does the rest. The unconditional
half is the empty prompt through the same encoder.
Source: docs/reference/published_weights.md A4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import IncompatibleError, InputError
from ...faces.encoders.names import ARC2FACE, same_encoder
from ...faces.identity import Identity, average

SENTENCE = "photo of a id person"
SENTENCE_IDS = (49406, 1125, 539, 320, 1014, 2533, 49407)
"""CLIP's token ids of the sentence, start and end included."""
ID_TOKEN = 1014
MEAN, MEDIAN = "mean", "median"
COMBINING = (MEAN, MEDIAN)


def combined(photos: Sequence[Identity], how: str = MEAN) -> Identity:
    """One identity from several photos of a person.

    Args:
        photos: One or more, of one encoder.
        how: ``mean`` of the vectors, or their ``median`` number by number, which one unlike photo
            among a few moves less; both are normalised.

    Raises:
        InputError: No photos, an unknown way, or vectors that cancel each other.
        IncompatibleError: They come from different encoders.
    """
    if how not in COMBINING:
        raise InputError(f"{how!r} is no way to combine photos", fix="Use mean or median")
    mean = average(photos)  # also checks that they can be combined
    if how == MEAN or len(photos) < 3:
        return mean
    # The mean of the two middle values for an even count; torch.median takes the lower.
    middle = torch.stack([photo.vector for photo in photos]).quantile(0.5, dim=0)
    return Identity.from_features(middle, mean.encoder)


def identity_embedding(identity: Identity, width: int = 768) -> Tensor:
    """The token embedding [width] of an identity: its vector, then zeros.

    Raises:
        IncompatibleError: It is of another recogniser, or longer than the embedding.
    """
    if not same_encoder(identity.encoder, ARC2FACE):
        raise IncompatibleError(
            f"the identity was measured by {identity.encoder!r}, Arc2Face reads vectors of its "
            "own arcface.onnx",
            fix="Put arcface.onnx of FoivosPar/Arc2Face into a folder of models/insightface/"
            "models, choose it in Load Face Encoder, and encode the photos again",
        )
    length = len(identity.vector)
    if length > width:
        raise IncompatibleError(
            f"the identity has {length} numbers, the text encoder's embeddings {width}",
            fix="Load Arc2Face's own text encoder",
        )
    return torch.cat([identity.vector, torch.zeros(width - length)])


def insert_identity(
    embeds: Tensor, token_ids: Tensor, embedding: Tensor, id_token: int = ID_TOKEN
) -> Tensor:
    """Token embeddings with the identity in place of the one "id"; a new tensor.

    Args:
        embeds: [B, L, W], before position embeddings are added.
        token_ids: [B, L].
        embedding: [W] (:func:`identity_embedding`), for all rows.

    Raises:
        InputError: A row has no "id", or several: Arc2Face draws one person.
    """
    here = token_ids == id_token
    counts = here.sum(1).tolist()
    if set(counts) != {1}:
        raise InputError(
            f"an Arc2Face prompt with {' and '.join(map(str, sorted(set(counts))))} words 'id'",
            fix=f"Use the prompt {SENTENCE!r}: Arc2Face draws one person",
        )
    return torch.where(here[..., None], embedding.to(embeds), embeds)
