"""Noise prediction with classifier-free guidance: Dense-Face's two modes, and SFSR."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..dense_face.blending import Model, guided
from ..dense_face.checkpoints.adapter_file import DenseFaceAdapter
from ..dense_face.pose_branch import PoseBranch
from ..dense_face.schedule import TRAIN_STEPS
from ..errors import InputError
from ..sfsr.adapter import SFSRAdapter
from ..sfsr.token_attention import SOURCES
from .attention import InstalledAdapter
from .base import Base
from .source_attention import InstalledSources, SourceInputs
from .text import encode_text, token_ids
from .tiny.inputs import DenseFaceInputs, SFSRInputs

UNCONDITIONAL = ""
MOST_GUIDANCE = 30.0


def text_model(base: Base, texts: Sequence[str], guidance: float) -> Model:
    """Text-editing mode: the base UNet with one prompt per sample."""
    contexts = _contexts(base, encode_text(base.text_encoder, token_ids(texts)))
    return guided_model(base, contexts, guidance, no_residuals)


@contextmanager
def face_model(
    base: Base, dense_face: DenseFaceAdapter, inputs: DenseFaceInputs, guidance: float
) -> Iterator[Model]:
    """Face-generation mode for a batch; the UNet is restored on exit.

    The adapter acts in both halves of the guidance, the identity token only in the conditional
    half. So does the pose, and guidance strengthens it like the prompt; with the pose in both
    halves, as in the release, small networks turn the head too little (docs/measuring.md).
    """
    parts, identities = inputs.parts, inputs.identities
    ids = token_ids(inputs.texts)
    who = identities if parts.token else None
    contexts = _contexts(base, encode_text(base.text_encoder, ids, dense_face.token, who))
    branch = dense_face.pose_branch if parts.pose else None
    residuals = no_residuals if branch is None else posed_residuals(branch, inputs.hints)
    model = guided_model(base, contexts, guidance, residuals)
    if not parts.adapter:
        yield model
        return
    both = identities if guidance == 1 else identities.repeat(2, 1)
    with InstalledAdapter(base.unet, dense_face.adapter, both):
        yield model


@contextmanager
def expression_model(
    base: Base, adapter: SFSRAdapter, branch: PoseBranch | None, inputs: SFSRInputs, guidance: float
) -> Iterator[Model]:
    """SFSR for a batch; the UNet is restored on exit.

    Prompt, pose, identity and expression act only in the conditional half of the guidance, the
    scene in both: guidance need not strengthen it.
    """
    contexts = _contexts(base, encode_text(base.text_encoder, token_ids(inputs.texts)))
    residuals = no_residuals if branch is None else posed_residuals(branch, inputs.hints)
    model = guided_model(base, contexts, guidance, residuals)
    source_inputs = _source_inputs(adapter, inputs, both=guidance != 1)
    with InstalledSources(base.unet, [adapter]) as installed:

        def in_time(x: Tensor, t: Tensor) -> Tensor:
            installed.source_inputs = replace(
                source_inputs, weights=acting(source_inputs.weights, inputs.starts, int(t))
            )
            return model(x, t)

        yield in_time


def acting(
    weights: Mapping[str, float | Tensor], starts: tuple[float, float], t: int
) -> dict[str, float | Tensor]:
    """The sources active at timestep ``t``; each starts at its fraction of the denoising."""
    by_source: dict[str, float] = dict(zip(SOURCES, starts, strict=True))
    last = TRAIN_STEPS - 1
    return {name: w for name, w in weights.items() if t <= last * (1 - by_source[name])}


def _source_inputs(adapter: SFSRAdapter, inputs: SFSRInputs, *, both: bool) -> SourceInputs:
    keys_values = adapter.attention.keys_values(inputs.tokens)
    weights: dict[str, float] = dict(zip(SOURCES, inputs.weights, strict=True))
    background = inputs.background
    if not both:
        return SourceInputs(keys_values, weights, background=background)
    halves = torch.tensor([0.0, 1.0]).repeat_interleave(len(inputs.texts))
    return SourceInputs(
        {
            source: {
                layer: (torch.cat([k, k]), torch.cat([v, v])) for layer, (k, v) in each.items()
            }
            for source, each in keys_values.items()
        },
        # A zero weight stays a number, so that its source is skipped.
        {name: weight and weight * halves for name, weight in weights.items()},
        background=None if background is None else torch.cat([background, background]),
    )


Residuals = Callable[[Tensor, Tensor], dict[str, Any]]
"""(x, t) of the conditional half -> additional arguments for the UNet."""
Control = Callable[[Tensor, Tensor, Tensor], dict[str, Any]]
"""(x, t, contexts) of all rows -> additional arguments for the UNet."""


def no_residuals(x: Tensor, t: Tensor) -> dict[str, Any]:
    """Nothing beside the UNet."""
    return {}


def posed_residuals(branch: PoseBranch, hints: Tensor) -> Residuals:
    """What the pose branch adds for pose images [B, 3, S, S] in 0..1."""
    encoded = branch.encode_hint(hints)

    def residuals(x: Tensor, t: Tensor) -> dict[str, Any]:
        return as_unet_arguments(branch.residuals(x, encoded, t.expand(x.shape[0])))

    return residuals


def as_unet_arguments(residuals: Sequence[Tensor]) -> dict[str, Any]:
    """Residuals of the pose branch as arguments of a diffusers UNet."""
    return {
        "down_block_additional_residuals": tuple(residuals[:-1]),
        "mid_block_additional_residual": residuals[-1],
    }


def _contexts(base: Base, prompt: Tensor) -> Tensor:
    """[2B, L, D]: the empty prompt's context, then the given ones."""
    empty = encode_text(base.text_encoder, token_ids([UNCONDITIONAL]))
    return torch.cat([empty.expand_as(prompt), prompt])


def guided_model(
    base: Base,
    contexts: Tensor,
    guidance: float,
    residuals: Residuals,
    control: Control | None = None,
    added: Mapping[str, Tensor] | None = None,
) -> Model:
    """Guided noise prediction.

    Args:
        contexts: [2B, L, D]: those of the half without prompt, then those of the other.
        residuals: Of the prompt's half.
        control: Added to them, in both halves.
        added: SDXL's added conditions [2B, ...], in the order of the contexts.

    Raises:
        InputError: The guidance is out of range.
    """
    if not 1 <= guidance <= MOST_GUIDANCE:
        raise InputError(
            f"the guidance is {guidance:g}", fix=f"Choose a value from 1 to {MOST_GUIDANCE:g}"
        )

    def model(x: Tensor, t: Tensor) -> Tensor:
        extra = residuals(x, t)
        rows, texts = x, contexts[len(x) :]
        if guidance != 1:
            rows, texts = torch.cat([x, x]), contexts
            extra = {name: _in_second_half(value) for name, value in extra.items()}
        if control is not None:
            extra = _added(extra, control(rows, t, texts))
        if added is not None:
            conditions = {name: each[-len(rows) :] for name, each in added.items()}
            extra = {**extra, "added_cond_kwargs": conditions}
        predicted = base.unet(rows, t, texts, **extra).sample
        if guidance == 1:
            return predicted
        without, with_words = predicted.chunk(2)
        return guided(without, with_words, guidance)

    return model


def _added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a UNet with the sums of both; either may be empty."""
    if not one or not other:
        return one or other
    down, middle = "down_block_additional_residuals", "mid_block_additional_residual"
    pairs = zip(one[down], other[down], strict=True)
    return {down: tuple(a + b for a, b in pairs), middle: one[middle] + other[middle]}


def _in_second_half(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.cat([torch.zeros_like(value), value])
    return tuple(torch.cat([torch.zeros_like(tensor), tensor]) for tensor in value)
