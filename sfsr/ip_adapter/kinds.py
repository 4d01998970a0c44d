"""The kinds of published adapters and what comes with each: side, combining, start, licence."""

from __future__ import annotations

from dataclasses import dataclass

from ...faces.encoders.names import W600K_R50
from ...faces.flame import FLAME
from ...published_files import BY_KEY
from ..token_attention import EXPRESSION, IDENTITY

MEAN, TOKENS = "mean of vectors", "tokens for each image"
"""How several images of one person are combined: one mean vector, or a group of tokens each."""


@dataclass(frozen=True)
class AdapterKind:
    """One kind of file.

    name: For data and comparisons; title: for people.
    sources: Which sides of SFSR it has, of ``token_attention.SOURCES``.
    encoder: What its numbers are made by: a face encoder (``faces.encoders.names``), or the
        expression's units.
    combining: The ways of combining several images that make sense, the default first; empty where
        there is no image.
    needs_clip: Whether it also reads CLIP vision states of the aligned face.
    start_percent: Share of the denoising from which it acts by default: published adapters were
        trained and used from the first step (docs/reference/published_weights.md G).
    licence: One clause for reports.
    """

    name: str
    title: str
    sources: tuple[str, ...]
    encoder: str
    combining: tuple[str, ...]
    licence: str
    needs_clip: bool = False
    start_percent: float = 0.0


_FACEID_LICENCE = BY_KEY["faceid"].licence

FACEID = AdapterKind(
    "faceid", "IP-Adapter-FaceID", (IDENTITY,), W600K_R50, (MEAN, TOKENS), _FACEID_LICENCE
)
PORTRAIT = AdapterKind(
    "portrait",
    "IP-Adapter-FaceID-Portrait",
    (IDENTITY,),
    W600K_R50,
    (TOKENS, MEAN),
    _FACEID_LICENCE,
)
PLUS = AdapterKind(
    "plus",
    "IP-Adapter-FaceID-Plus",
    (IDENTITY,),
    W600K_R50,
    (TOKENS,),
    _FACEID_LICENCE,
    needs_clip=True,
)
PLUS_V2 = AdapterKind(
    "plusv2",
    "IP-Adapter-FaceID-Plus v2",
    (IDENTITY,),
    W600K_R50,
    (TOKENS,),
    _FACEID_LICENCE,
    needs_clip=True,
)
FINEFACE = AdapterKind(
    "fineface",
    "FineFace",
    (EXPRESSION,),
    "facs/disfa12",
    (),
    BY_KEY["fineface"].licence,
)
ARC2FACE_EXPRESSION = AdapterKind(
    "arc2face-expression",
    "Arc2Face's expression adapter",
    (EXPRESSION,),
    FLAME,
    (),
    BY_KEY["arc2face-expression"].licence,
)
KINDS = (FACEID, PLUS, PLUS_V2, PORTRAIT, FINEFACE, ARC2FACE_EXPRESSION)
