"""The plan of each trainer: its task with networks of the base's sizes, and a batch of its data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ...faces.encoders.ir_se50 import IRSE50
from ...faces.face import SCHEMES
from ...pipelines.base import Base
from ...pipelines.single_file import untrained_base
from ..data.batches import Batch
from ..data.dataset import FEATURES
from ..photos.annotations import VAE_FACTOR, HeadTask
from ..photos.dense_face import dense_face_task
from ..photos.sfsr import sfsr_task
from ..runs.memory import cast_frozen, save_memory
from .config import AnnotationsConfig, DenseFaceConfig, SFSRConfig, TrainerConfig
from .plan import Plan, plan_step

_SHAPES = 51


def plan_of(config: TrainerConfig) -> Plan:
    """What a step of a trainer needs; of all files only the base's header is read.

    Raises:
        ModelFileError, IncompatibleError: The base cannot be used.
    """
    return plan_step(partial(_built, config), config.schedule)


def _built(config: TrainerConfig) -> tuple[nn.Module, Batch]:
    base = untrained_base(config.base)
    checkpointing = getattr(config, "gradient_checkpointing", False)
    save_memory(base, config.precision, checkpointing=checkpointing)
    return _task(base, config), _batch(config)


def _task(base: Base, config: TrainerConfig) -> nn.Module:
    length = base.text_encoder.config.max_position_embeddings

    def tokenize(texts: Sequence[str]) -> Tensor:
        return torch.zeros(len(texts), length, dtype=torch.int64)

    if isinstance(config, AnnotationsConfig):
        return HeadTask(base, config, tokenize)
    if isinstance(config, DenseFaceConfig):
        return dense_face_task(base, config, tokenize, _recogniser(config))
    if isinstance(config, SFSRConfig):
        return sfsr_task(base, config, tokenize, _recogniser(config))
    raise TypeError(type(config).__name__)


def _recogniser(config: DenseFaceConfig | SFSRConfig) -> IRSE50 | None:
    if config.ir_se50 is None:
        return None
    net = IRSE50().eval().requires_grad_(False)
    cast_frozen(net, config.precision)
    return net


def _batch(config: TrainerConfig) -> Batch:
    count, side = config.batch, config.size
    cells = side // 2
    if isinstance(config, AnnotationsConfig):
        cells = side // VAE_FACTOR * config.scale
    image, marks = torch.rand(count, 3, side, side), torch.rand(count, SCHEMES[config.scheme], 2)
    batch: Batch = {
        "image": image,
        "parts": torch.zeros(count, cells, cells, dtype=torch.int64),
        "depth": torch.rand(count, cells, cells),
        "landmarks": marks,
        "feature": torch.rand(count, FEATURES),
        "blendshapes": torch.rand(count, _SHAPES),
        "pose": torch.zeros(count, 3),
        "caption": [""] * count,
        "key": [""] * count,
    }
    if isinstance(config, (DenseFaceConfig, SFSRConfig)):
        if config.ir_se50 is None:
            batch["other_feature"] = batch["feature"].clone()
        else:
            batch |= {"other_image": image.clone(), "other_landmarks": marks.clone()}
    if isinstance(config, DenseFaceConfig):
        batch["hint"] = image.mul(255).byte()
    return batch
