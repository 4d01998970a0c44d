"""A trainer's photographs by its settings: encoded in every step, or read from a cache."""

from __future__ import annotations

from ..cache.build import build_cache
from ..cache.records import CachedRecords
from ..data.batches import Batches
from ..settings.config import TrainerConfig
from .encoding import Encoder, PhotoEncoder, Precomputed
from .photo_set import PhotoSet

TRAINED, HELD_OUT = "trained", "held-out"
"""Folders in a cache: people trained on, and held out."""


def cached_records(
    photos: PhotoSet, encoder: PhotoEncoder | None, config: TrainerConfig, *, held_out: bool
) -> CachedRecords | None:
    """The photographs in the cache that the settings name, which is completed first.

    Args:
        encoder: Fills it; None for no cache.
        held_out: Whether they are those of the people held out.

    Returns:
        None where everything is computed in every step.

    Raises:
        InputError: The folder holds another cache, or cannot be written to.
        ModelFileError: A file of the cache is damaged.
    """
    if config.cache is None or encoder is None or not len(photos.data):
        return None
    folder = config.cache / (HELD_OUT if held_out else TRAINED)
    return build_cache(folder, photos, encoder, config)


def encoder_for(batches: Batches, encoder: PhotoEncoder) -> Encoder:
    """What encodes batches: nothing any more where they are from a cache."""
    records = batches.data
    return Precomputed(records.empty_context) if isinstance(records, CachedRecords) else encoder


def cache_settings(batches: Batches) -> dict[str, object]:
    """What a cache was made from, for the fingerprint of a run."""
    records = batches.data
    return {"cache": records.digest} if isinstance(records, CachedRecords) else {}
