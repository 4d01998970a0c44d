"""What both adapters are trained with on photographs: frozen networks, and the people's identities.

Identities are read by IR-SE50, or taken from the data set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...faces.encoders.ir_se50 import ENCODER, IRSE50, load_ir_se50
from ...pipelines.base import Base
from ...pipelines.single_file import Tokenize, load_checkpoint, tokenizer_for
from ..data.annotate_plan import require_encoder
from ..data.batches import Batches, Draw
from ..data.dataset import FaceDataset, Sample
from ..data.held_out import split
from ..runs.memory import DTYPES, cast_frozen, save_memory
from ..settings.config import DenseFaceConfig, SFSRConfig
from .other_images import OtherImages, has_feature, has_landmarks

AdapterConfig = DenseFaceConfig | SFSRConfig


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


def batches_of_people(
    config: AdapterConfig,
    map_size: int,
    kinds: Sequence[str],
    *,
    recogniser: bool,
    held_out: bool,
    labels: str,
    usable: Callable[[Sample], bool] | None = None,
    add: Callable[[Sample, Draw], None] | None = None,
) -> Batches:
    """The data set, each image with another one of the same person wherever there is one.

    Args:
        map_size: Side of depth and parts in cells.
        kinds: Of files to read, beside images and what identities need.
        recogniser: Whether identities are read by a network; else the data set must have them.
        held_out: Whether those of the people who are held out, instead of those trained on.
        labels: For the error message: what makes a sample usable.
        usable: Whether it can be trained on, beside its identity.
        add: Adds to a sample what depends on its number in the run.

    Raises:
        InputError: There is no data set, or it has no identities although they are needed.
        IncompatibleError: Its identities are of another encoder than ``config`` names.
    """
    if not recogniser:
        require_encoder(config.dataset, config.encoder)
    identity = "landmarks" if recogniser else "feat_file_v2"
    kinds = tuple(dict.fromkeys(("images", identity, *kinds)))
    data = FaceDataset(config.dataset, config.size, map_size, config.scheme, kinds)
    data = split(data, config.held_out)[held_out]
    others = OtherImages(data, config.seed, recogniser)
    has_identity = has_landmarks if recogniser else has_feature
    return Batches(
        data,
        config.batch,
        config.seed,
        workers=config.workers,
        usable=_All((has_identity,) if usable is None else (has_identity, usable)),
        needed=f"{labels} are needed, as denseface annotate writes them, and without IR-SE50 "
        "identities as well",
        add=_Each((others,) if add is None else (others, add)),
    )


# Not functions inside a function, which could not be sent to the processes that read images.
@dataclass(frozen=True)
class _All:
    checks: tuple[Callable[[Sample], bool], ...]

    def __call__(self, sample: Sample) -> bool:
        return all(check(sample) for check in self.checks)


@dataclass(frozen=True)
class _Each:
    additions: tuple[Callable[[Sample, Draw], None], ...]

    def __call__(self, sample: Sample, draw: Draw) -> None:
        for add in self.additions:
            add(sample, draw)
