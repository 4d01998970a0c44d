"""A face's vector -> tokens, for FaceID, Portrait, Plus and Plus v2.

    x = LayerNorm(reshape(W2 GELU(W0 id + b0) + b2));  plus: P(x, clip);  v2: x + s_scale P(x, clip)

Source: docs/reference/published_weights.md C2.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...errors import IncompatibleError, InputError
from ...published_files import BY_KEY
from .kinds import PLUS_V2
from .layout import IdentityLayout
from .perceiver import FacePerceiver


class IdentityEmbedding(nn.Module):
    """The projection of one image's vector; names of the parameters are those of the files."""

    def __init__(self, layout: IdentityLayout) -> None:
        super().__init__()
        self.layout = layout
        self.proj = nn.Sequential(
            nn.Linear(layout.vector, layout.hidden),
            nn.GELU(),
            nn.Linear(layout.hidden, layout.tokens * layout.width),
        )
        self.norm = nn.LayerNorm(layout.width)
        self.perceiver_resampler = FacePerceiver(layout) if layout.clip_width else None

    def forward(self, vectors: Tensor, clip: Tensor | None = None, s_scale: float = 1.0) -> Tensor:
        """Tokens [B, n, W] of B images.

        Args:
            vectors: [B, D], rows of length 1, or zeros for nobody.
            clip: [B, N, K]: CLIP vision states before the last layer, of the aligned face at
                224 px; for nobody those of an image whose *normalised* pixels are zero. Plus kinds
                need them, others leave them aside.
            s_scale: How much the image says beside the vector, 0 or more; of Plus v2 alone.

        Raises:
            InputError: The states are missing.
            IncompatibleError: States or vectors are of another width.
        """
        _require_width(vectors.shape[1], self.layout.vector, "face's vector")
        vectors = vectors.to(self.norm.weight)
        tokens = self.norm(self.proj(vectors).unflatten(1, (-1, self.layout.width)))
        if self.perceiver_resampler is None:
            return tokens
        resampled = self.perceiver_resampler(tokens, self._states(clip))
        return tokens + s_scale * resampled if self.layout.kind == PLUS_V2 else resampled

    def _states(self, clip: Tensor | None) -> Tensor:
        if clip is None:
            raise InputError(
                f"{self.layout.kind.title} also reads the face's image",
                fix="Connect CLIP vision and the reference image; CLIP vision is "
                f"{BY_KEY['clip_vision'].where_to_get}",
            )
        _require_width(clip.shape[2], self.layout.clip_width, "state of CLIP vision")
        return clip.to(self.norm.weight)


def _require_width(have: int, wanted: int, what: str) -> None:
    if have != wanted:
        clip = " (1280 is ViT-H/14, 1024 is ViT-L/14, 1664 is ViT-bigG/14)" * ("CLIP" in what)
        raise IncompatibleError(
            f"the {what} has {have} numbers, the adapter reads {wanted}{clip}",
            fix="Use the model that the adapter was trained with",
        )
