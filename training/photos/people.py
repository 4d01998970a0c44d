"""What both adapters are trained with on photographs: frozen networks, and the people's identities.

Identities are read by IR-SE50, or taken from the data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...faces.encoders.ir_se50 import ENCODER, IRSE50, load_ir_se50
from ...pipelines.base import Base
from ...pipelines.single_file import Tokenize, load_checkpoint, tokenizer_for
from ..cache.records import CachedRecords
from ..data.annotate_plan import require_encoder
from ..data.batches import Batches
from ..data.dataset import FaceDataset
from ..data.held_out import split
from ..runs.memory import DTYPES, cast_frozen, save_memory
from ..settings.config import AdapterConfig
from .other_images import OtherImages, has_feature, has_landmarks
from .photo_set import Addition, AllOf, Check, EachOf, PhotoSet


class Frozen(NamedTuple):
    """The networks that an adapter is trained with, and the base's tokenizer.

    net: Encodes identities; None takes those of the data set.
    """

    base: Base
    tokenize: Tokenize
    net: IRSE50 | None


def load_frozen(config: AdapterConfig) -> Frozen:
    """The networks of a trainer's settings, prepared for training through them.

    Raises:
        FacePackError: A model file or the tokenizer cannot be used.
    """
    net = None if config.ir_se50 is None else load_ir_se50(config.ir_se50)
    base = load_checkpoint(config.base, dtype=DTYPES[config.precision])
    save_memory(base, config.precision, checkpointing=config.gradient_checkpointing)
    if net is not None:
        cast_frozen(net, config.precision)
    return Frozen(base, tokenizer_for(base, config.tokenizer), net)


def encoder_of(config: AdapterConfig) -> str:
    """Name of the network that encodes identities."""
    return config.encoder or ENCODER


def people_of(
    config: AdapterConfig,
    map_size: int,
    kinds: Sequence[str],
    labels: str,
    *checks: Check,
    recogniser: bool,
    held_out: bool,
) -> PhotoSet:
    """The photographs of a data set with identities.

    Args:
        map_size: Side of depth and parts in cells.
        kinds: Of files to read, beside images and what identities need.
        labels: For the error message: what makes a sample usable.
        checks: Of a sample, beside its identity.
        recogniser: Whether identities are read by a network; else the data set must have them.
        held_out: Whether those of the people who are held out, instead of those trained on.

    Raises:
        InputError: There is no data set, or it has no identities although they are needed.
        IncompatibleError: Its identities are of another encoder than ``config`` names.
    """
    if not recogniser:
        require_encoder(config.dataset, config.encoder)
    identity = "landmarks" if recogniser else "feat_file_v2"
    kinds = tuple(dict.fromkeys(("images", identity, *kinds)))
    data = FaceDataset(config.dataset, config.size, map_size, config.scheme, kinds, config.views)
    return PhotoSet(
        split(data, config.held_out)[held_out],
        AllOf((has_landmarks if recogniser else has_feature, *checks)),
        needed=f"{labels} are needed, as denseface annotate writes them, and without IR-SE50 "
        "identities as well",
    )


def batches_of_people(
    config: AdapterConfig,
    photos: PhotoSet,
    *additions: Addition,
    recogniser: bool,
    cache: CachedRecords | None = None,
) -> Batches:
    """The photographs, each with the identity of another one of the person if there is one.

    Args:
        additions: To samples, of what depends on their number in the run.
        recogniser: As for :func:`people_of`. cache: What was computed of the photographs.
    """
    data = photos.data if cache is None else cache
    others = OtherImages(data, config.seed, config.scheme, recogniser and cache is None)
    before = (photos.add,) if cache is None else ()
    return Batches(
        data,
        config.batch,
        config.seed,
        workers=config.workers,
        variants=config.variants,
        usable=photos.usable if cache is None else AllOf(),
        needed=photos.needed,
        add=EachOf((*before, others, *additions)),
    )
