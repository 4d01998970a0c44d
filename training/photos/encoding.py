"""What frozen networks compute of photographs: latents, identities, hidden states of captions.

They are computed in every step (:class:`PhotoEncoder`), or once and read from a cache
(:class:`Precomputed`, ``training.cache``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...faces.encoders.ir_se50 import IRSE50
from ...pipelines.base import Base
from ...pipelines.single_file import Tokenize
from ...pipelines.text import encode_text
from ..data.batches import Batch
from .arcface_reader import ArcFaceReader


@dataclass(frozen=True)
class Content:
    """What a trainer reads of an image.

    trainer: Its name in ``denseface train``.
    encode: By name, tensors of a batch that networks compute, or that follow from its labels.
    labels: Names of the samples' labels that it reads as they are.
    texts: Whether it reads hidden states of the captions.
    """

    trainer: str
    encode: Callable[[PhotoEncoder, Batch], dict[str, Tensor]]
    labels: tuple[str, ...]
    texts: bool = True


class Encoder(Protocol):
    """Adds to a batch what its trainer reads (:class:`Content`); an ``nn.Module``.

    A batch then holds the tensors of ``encode``, ``other_feature``, identities [B, D] of another
    image of each person, and, where the trainer reads texts, ``context`` [B, L, W].
    """

    def __call__(self, batch: Batch) -> Batch: ...

    @property
    def empty_context(self) -> Tensor:
        """Hidden states of the empty prompt [1, L, W]."""
        ...


class PhotoEncoder(nn.Module):
    """An :class:`Encoder` that computes everything anew.

    Args:
        base: Encodes images and captions; it gets no gradients.
        recogniser: Encodes identities; None takes those of the data set.
    """

    def __init__(
        self,
        base: Base,
        tokenize: Tokenize,
        content: Content,
        recogniser: IRSE50 | None = None,
    ) -> None:
        super().__init__()
        self.vae = base.vae
        self.text_encoder = base.text_encoder if content.texts else None
        self.recogniser = None if recogniser is None else ArcFaceReader(recogniser)
        self.content, self._tokenize = content, tokenize

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.vae.parameters()).device

    @torch.no_grad()
    def forward(self, batch: Batch) -> Batch:
        """As of :class:`Encoder`."""
        found = {**batch, **self.content.encode(self, batch)}
        if self.recogniser is not None:
            found["other_feature"] = self.recogniser.read(batch["other_face"].to(self.device))
        if self.text_encoder is not None:
            found["context"] = self.contexts(batch["caption"])
        return found

    def latents(self, images: Tensor) -> Tensor:
        """Latents [B, 4, h, w] of images [B, 3, 8h, 8w] in 0..1, not scaled: the most probable."""
        vae: Any = self.vae
        return vae.encode(2 * images - 1).latent_dist.mode()

    @torch.no_grad()
    def contexts(self, texts: Sequence[str]) -> Tensor:
        """Hidden states [B, L, W] of captions."""
        if self.text_encoder is None:
            raise RuntimeError("the trainer reads no texts")
        return encode_text(self.text_encoder, self._tokenize(texts).to(self.device))

    @property
    def empty_context(self) -> Tensor:
        """As of :class:`Encoder`."""
        return self.contexts([""])


class Precomputed(nn.Module):
    """An :class:`Encoder` of batches that already hold everything.

    Args:
        empty_context: None for a trainer that reads no texts.
    """

    empty: Tensor | None

    def __init__(self, empty_context: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("empty", empty_context, persistent=False)

    def forward(self, batch: Batch) -> Batch:
        """As of :class:`Encoder`."""
        return batch

    @property
    def empty_context(self) -> Tensor:
        """As of :class:`Encoder`."""
        if self.empty is None:
            raise RuntimeError("the trainer reads no texts")
        return self.empty


def without_image_encoder(base: Base) -> Base:
    """The base with the VAE's decoder alone, for encoded images."""
    vae = copy.copy(base.vae)
    vae._modules = dict(vae._modules)  # else the caller's VAE would lose it, too
    for name in ("encoder", "quant_conv"):
        setattr(vae, name, None)
    return replace(base, vae=vae)


def dropped_at_random(
    batch: Batch, encoder: Encoder, fraction: float, generator: torch.Generator
) -> Tensor:
    """The contexts [B, L, W] of an encoded batch, some replaced by that of the empty prompt."""
    context = batch["context"]
    dropped = torch.rand(len(context), generator=generator) < fraction
    empty = encoder.empty_context.to(context)
    return torch.where(dropped[:, None, None].to(context.device), empty, context)
