"""The fixtures of ``published_parity`` for tests, and room for deliberate mistakes.

All is computed by ``evaluation.parity.published_outputs``; a mistake in the attention itself takes
the place of ``published_unet.attended``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from comfyui_dense_face.evaluation.parity import published_outputs, published_unet
from comfyui_dense_face.evaluation.parity.published_fixture import PublishedFixture
from comfyui_dense_face.sfsr.ip_adapter.fineface import ExpressionAdapter
from comfyui_dense_face.sfsr.ip_adapter.identity_adapter import IdentityAdapter
from comfyui_dense_face.sfsr.ip_adapter.places import Target
from comfyui_dense_face.sfsr.token_attention import KeysValues, source_attention
from torch import Tensor

PUBLISHED = Path(__file__).resolve().parents[1] / "data" / "published_parity"


@cache
def fixture(folder: str) -> PublishedFixture:
    """Read once; nobody changes its tensors."""
    return PublishedFixture.read(PUBLISHED / folder)


def goldens(folder: str) -> dict[str, Tensor]:
    """Inputs and outputs."""
    return fixture(folder).tensors


@cache
def layout_json(name: str) -> dict[str, tuple[int, ...]]:
    """Name to shape of a published file at full size."""
    found = json.loads((PUBLISHED / name).read_text(encoding="utf-8"))
    return {key: tuple(shape) for key, (shape, _) in found.items()}


@cache
def numbers() -> dict[int, dict[str, Any]]:
    """Of all attentions, as the reference has them."""
    text = (PUBLISHED / "unet" / "attention_numbers.json").read_text(encoding="utf-8")
    return {int(number): entry for number, entry in json.loads(text).items()}


def target() -> Target:
    """The small UNet, with vectors of 64 numbers."""
    return fixture("faceid").target


def identity(kind: str) -> IdentityAdapter:
    return _folder_of(kind).identity(kind)


def fineface() -> ExpressionAdapter:
    return fixture("fineface").expression()


def distance(found: Tensor, golden: Tensor) -> float:
    """Largest difference, relative to the golden's largest value."""
    assert found.shape == golden.shape
    return float((found.double() - golden.double()).abs().max() / golden.double().abs().max())


def block(number: int) -> str:
    return fixture("faceid").block(number)


@dataclass(frozen=True)
class Layer:
    """One attention at work: queries, what the text gives, the way out."""

    number: int
    query: Tensor
    text: Tensor
    keys_values: KeysValues
    heads: int
    out: Callable[[Tensor], Tensor]
    out_weight: Tensor


Combine = Callable[[Layer, Layer, "Run"], Tensor]
"""(with LoRA, without, run) -> the layer's output: for mistakes in the attention itself."""


@dataclass(frozen=True)
class Run(published_unet.Run):
    """combine: In place of the pack's own attention, in cross-attentions."""

    combine: Combine | None = None


def _attended(
    given: PublishedFixture, number: int, hidden: Tensor, context: Tensor, run: published_unet.Run
) -> Tensor:
    if not isinstance(run, Run) or run.combine is None or number % 2 == 0:
        return published_unet.attended(given, number, hidden, context, run)
    with_lora, plain = (_layer(given, number, hidden, context, each) for each in (run, Run()))
    return run.combine(with_lora, plain, run)


def _layer(given: PublishedFixture, number: int, hidden: Tensor, text: Tensor, run: Run) -> Layer:
    projected = published_unet.projections(given, number, run)
    (q, _), (k, _), (v, _), (out, bias) = projected
    heads = given.attention(number).heads
    query, both = F.linear(hidden, q), (F.linear(text, k), F.linear(text, v))
    from_text = source_attention(query, both, heads)
    return Layer(number, query, from_text, both, heads, lambda x: F.linear(x, out, bias), out)


def eps(folder: str, half: str, t: int, run: Run) -> Tensor:
    """The predicted noise of one half of the guidance."""
    return published_unet.predicted_noise(fixture(folder), half, t, run, _attended)


def tokens(kind: str, half: str, s_scale: float = 1.0) -> Tensor:
    """Tokens of all people of the fixture: ``faceid``, ``plus``, ``plusv2``, ``portrait.f3``,
    ``portrait.f1``, ``portrait_v11``.
    """
    name, _, faces = kind.partition(".f")
    return published_outputs.face_tokens(_folder_of(name), name, half, s_scale, int(faces or 0))


@torch.no_grad()
def keys_values(kind: str, of: Tensor) -> dict[str, KeysValues]:
    return identity(kind.partition(".")[0]).keys_values(of)


def face_run(kind: str, half: str, weight: float = 1.0, s_scale: float = 1.0) -> Run:
    """The reference's way, for the first person of the fixture."""
    name, _, faces = kind.partition(".f")
    made = published_outputs.face_run(
        _folder_of(name), name, half, weight, s_scale, int(faces or 0)
    )
    return Run(made.keys_values, made.weight, lora=made.lora)


def unit_vectors(half: str) -> dict[str, Tensor]:
    """FineFace's constants for one of the fixture's faces."""
    return published_outputs.unit_vectors(fixture("fineface"), half)


def _folder_of(kind: str) -> PublishedFixture:
    return fixture("fineface" if kind == "portrait_v11" else "faceid")
