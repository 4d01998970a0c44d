"""An identity adapter from a published file: tokens of people, their keys and values, the LoRA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import IncompatibleError, InputError
from ...faces.encoders.names import names_of, same_encoder
from ...faces.identity import Identity
from ..token_attention import IDENTITY, KeysValues, TokenAttention
from .embedding import IdentityEmbedding
from .expected import check_layout
from .kinds import MEAN
from .layout import IdentityLayout
from .lora import AdapterLora, lora_of
from .on_target import OnTarget
from .projection import projection_state


class IdentityAdapter(nn.Module, OnTarget[IdentityLayout]):
    """The identity side alone, of an IP-Adapter file for faces; without background hint.

    Args:
        layout: What it is.
        lora: Of the same file; it acts on the UNet's own weights.
    """

    hint = None

    def __init__(self, layout: IdentityLayout, lora: AdapterLora | None = None) -> None:
        super().__init__()
        self.layout = layout
        self.lora = lora or AdapterLora()
        self.embedding = IdentityEmbedding(layout)
        self.attention = TokenAttention(layout.target.layers, layout.width, (IDENTITY,))

    def vectors(self, people: Sequence[Sequence[Identity]]) -> Tensor:
        """Vectors [B, F, D] of B people in F images each, of length 1.

        Raises:
            InputError: No people, or different numbers of images (take their mean first).
            IncompatibleError: An identity of another encoder than the adapter's.
        """
        counts = sorted({len(images) for images in people})
        if len(counts) != 1 or counts[0] == 0:
            several = " and ".join(map(str, counts)) or "0"
            raise InputError(
                f"people with {several} reference images each",
                fix="Give the same number of images for each, one at least, or their means",
            )
        rows = [[self._vector(identity) for identity in images] for images in people]
        return torch.stack([torch.stack(row) for row in rows])

    def tokens(
        self,
        vectors: Tensor,
        clip: Tensor | None = None,
        *,
        combining: str | None = None,
        s_scale: float = 1.0,
    ) -> Tensor:
        """Tokens [B, F * n, W] of people; [B, n, W] where vectors are averaged.

        Args:
            vectors: [B, F, D] (:meth:`vectors`).
            clip: CLIP vision states [B, F, N, K] for the Plus kinds (``embedding``).
            combining: One of ``kind.combining``; None for the kind's own. One image is the same
                in either way.
            s_scale: Of Plus v2: how much the image says, 0 or more.

        Raises:
            InputError: The kind cannot combine images in this way, CLIP states are missing or not
                one for each image, or the vectors of a person cancel each other.
            IncompatibleError: Vectors or states of another width.
        """
        combining = combining or self.kind.combining[0]
        if combining not in self.kind.combining:
            raise InputError(
                f"{self.kind.title} cannot combine images by {combining!r}",
                fix=f"Use {' or '.join(repr(way) for way in self.kind.combining)}",
            )
        if combining == MEAN and vectors.shape[1] > 1:
            vectors = _mean(vectors)
        count = vectors.shape[1]
        if self.kind.needs_clip and clip is not None:
            if clip.shape[:2] != vectors.shape[:2]:
                raise InputError(
                    f"CLIP vision states of {list(clip.shape[:2])} images for {count} vectors "
                    f"of {len(vectors)} people",
                    fix="Give the image of each vector",
                )
            clip = clip.flatten(0, 1)
        each = self.embedding(vectors.flatten(0, 1), clip, s_scale)
        return each.unflatten(0, (-1, count)).flatten(1, 2)

    def absent(self, clip: Tensor | None = None, *, s_scale: float = 1.0) -> Tensor:
        """Tokens [M, n, W] of nobody, for the half without prompt: of a vector of zeros.

        One group is enough for any number of images: the same keys again change no softmax's mean.

        Args:
            clip: For the Plus kinds the states [M, N, K] of an image whose *normalised* pixels are
                zero (M is usually 1); neither zeros nor those of a black image. Others: M is 1.

        Raises:
            InputError, IncompatibleError: As :meth:`tokens`.
        """
        count = len(clip) if clip is not None and self.kind.needs_clip else 1
        nobody = torch.zeros(count, self.layout.vector)
        return self.embedding(nobody, clip, s_scale)

    def keys_values(self, tokens: Tensor) -> dict[str, KeysValues]:
        """Layer to keys and values [B, n, C] of tokens, once for a whole run."""
        return self.attention.source_keys_values(IDENTITY, tokens)

    def _vector(self, identity: Identity) -> Tensor:
        if not same_encoder(identity.encoder, self.kind.encoder):
            known = " or ".join(repr(name) for name in names_of(self.kind.encoder))
            raise IncompatibleError(
                f"the identity was measured by {identity.encoder!r}, {self.kind.title} reads "
                f"vectors of {known}",
                fix="Measure the reference images with w600k_r50.onnx (InsightFace's buffalo_l)",
            )
        if len(identity.vector) != self.layout.vector:
            raise IncompatibleError(
                f"the identity has {len(identity.vector)} numbers, the adapter reads "
                f"{self.layout.vector}",
                fix="Measure the reference images again",
            )
        return F.normalize(identity.vector, dim=0)


def identity_adapter(
    tensors: Mapping[str, Tensor], layout: IdentityLayout, where: str = ""
) -> IdentityAdapter:
    """The adapter of a file's tensors, in float32 and frozen; its LoRA in the file's dtype.

    Raises:
        ModelFileError, IncompatibleError: As ``expected.check_layout``.
    """
    check_layout(tensors, layout, where)
    with torch.device("meta"):
        adapter = IdentityAdapter(layout, lora_of(tensors, layout))
    adapter.load_state_dict(projection_state(tensors, layout.target, IDENTITY), assign=True)
    return adapter.eval().requires_grad_(False)


def _mean(vectors: Tensor) -> Tensor:
    """[B, F, D] -> [B, 1, D] of length 1, as ``faces.identity.average``."""
    total = vectors.sum(1, keepdim=True)
    length = total.norm(dim=2, keepdim=True)
    if not bool((length > 0).all()):
        raise InputError(
            "the vectors of a person cancel each other",
            fix="Use reference images of one and the same person",
        )
    return total / length
