"""The plan of each trainer: its task with networks of the base's sizes, and a batch of its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ...faces.crops.alignment import ALIGNED_SIZE, TEMPLATE
from ...faces.encoders.ir_se50 import IRSE50
from ...faces.face import SCHEMES
from ...pipelines.single_file import untrained_base
from ..data.batches import Batch
from ..data.dataset import FEATURES
from ..photos import annotations, dense_face, sfsr
from ..photos.annotations import VAE_FACTOR, HeadTask
from ..photos.dense_face import dense_face_task
from ..photos.encoding import Content, Encoder, PhotoEncoder, Precomputed
from ..photos.sfsr import sfsr_task
from ..runs.memory import DTYPES, autocast, cast_frozen, save_memory
from .config import AnnotationsConfig, DenseFaceConfig, SFSRConfig, TrainerConfig
from .plan import Plan, plan_step

_SHAPES = 51


def plan_of(config: TrainerConfig) -> Plan:
    """What a step of a trainer needs; of all files only the base's header is read.

    Raises:
        ModelFileError, IncompatibleError: The base cannot be used.
    """
    return plan_step(partial(_built, config), config.schedule)


def loss_costs(config: SFSRConfig) -> list[str]:
    """What each loss of an SFSR adapter adds to a step, in words.

    A rollout is counted with one step of the sampler; on average it takes two or three.

    Raises:
        ModelFileError, IncompatibleError: The base cannot be used.
    """
    identity = config.identity_loss and config.ir_se50 is not None
    stages: list[tuple[str, SFSRConfig]] = []
    if config.noise_loss:
        only = replace(config, identity_loss=False, rollout=False)
        stages.append(("noise prediction", only))
    if identity:
        stages.append(("identity, by midpoint", replace(config, rollout=False)))
    if config.rollout:
        stages.append(("from a rollout", config))
    lines, before = [f"{'loss':<24}{'operations':>16}{'peak so far':>14}"], 0
    for name, stage in stages:
        plan = plan_of(stage)
        added, before = plan.operations - before, plan.operations
        lines.append(f"{name:<24}{added / 1e12:10.3g} TFLOP{plan.peak / 1e9:11.3f} GB")
    return lines


def _built(config: TrainerConfig) -> tuple[nn.Module, Batch]:
    base = untrained_base(config.base)
    checkpointing = getattr(config, "gradient_checkpointing", False)
    save_memory(base, config.precision, checkpointing=checkpointing)
    net, batch = _recogniser(config), _batch(config)
    length = base.text_encoder.config.max_position_embeddings

    def tokenize(texts: Sequence[str]) -> Tensor:
        return torch.zeros(len(texts), length, dtype=torch.int64)

    encoder: Encoder = PhotoEncoder(base, tokenize, _content(config), net)
    if config.cache is not None:
        read = {*_content(config).labels, "other_feature", "caption", "hint"}
        with autocast(config.precision):
            found = encoder(batch)
        batch = {n: each for n, each in found.items() if n in read or each is not batch.get(n)}
        empty: Tensor | None = None
        if _content(config).texts:
            batch["context"] = batch["context"].to(DTYPES[config.precision])
            empty = batch["context"][:1].clone()
        encoder = Precomputed(empty)
    if isinstance(config, AnnotationsConfig):
        return HeadTask(base, config, encoder), batch
    if isinstance(config, DenseFaceConfig):
        return dense_face_task(base, replace(config, start=None), tokenize, net, encoder), batch
    if isinstance(config, SFSRConfig):
        new = replace(config, start=None, start_expression=None)
        return sfsr_task(base, new, tokenize, net, encoder), batch
    raise TypeError(type(config).__name__)


def _content(config: TrainerConfig) -> Content:
    if isinstance(config, AnnotationsConfig):
        return annotations.CONTENT
    return dense_face.CONTENT if isinstance(config, DenseFaceConfig) else sfsr.CONTENT


def _recogniser(config: TrainerConfig) -> IRSE50 | None:
    if not isinstance(config, (DenseFaceConfig, SFSRConfig)) or config.ir_se50 is None:
        return None
    net = IRSE50().eval().requires_grad_(False)
    cast_frozen(net, config.precision)
    return net


def _batch(config: TrainerConfig) -> Batch:
    count, side = config.batch, config.size
    cells = side // 2
    if isinstance(config, AnnotationsConfig):
        cells = side // VAE_FACTOR * config.scale
    half = (torch.arange(cells) < cells // 2).long().expand(count, cells, cells)
    image, marks = torch.rand(count, 3, side, side), torch.rand(count, SCHEMES[config.scheme], 2)
    batch: Batch = {
        "image": image,
        "parts": half.clone(),
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
            batch["other_face"] = torch.rand(count, 3, ALIGNED_SIZE, ALIGNED_SIZE)
    if isinstance(config, SFSRConfig):
        batch |= {
            "stranger": batch["parts"].clone(),
            "five": TEMPLATE.expand(count, 5, 2) / ALIGNED_SIZE,
        }
    if isinstance(config, DenseFaceConfig):
        batch["hint"] = image.mul(255).byte()
    return batch
