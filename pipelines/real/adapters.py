"""Adapters of the identity and of the expression, and their tokens for one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import IncompatibleError, InputError
from ...faces.encoders.names import names_of, same_encoder
from ...faces.identity import Identity, average
from ...published_files import BY_KEY
from ...sfsr.adapter import FORMAT, SFSRAdapter, load_adapter
from ...sfsr.compound_inputs import expression_batch, identity_batch
from ...sfsr.disfa import UnitIntensities
from ...sfsr.disfa_sources import intensities_of
from ...sfsr.expression import Expression
from ...sfsr.ip_adapter.arc2face import FlameAdapter
from ...sfsr.ip_adapter.fineface import ExpressionAdapter
from ...sfsr.ip_adapter.identity_adapter import IdentityAdapter
from ...sfsr.ip_adapter.load import PublishedAdapter, load_published
from ...sfsr.ip_adapter.places import Target
from ...sfsr.ip_adapter.refuse import SDXL_FILES
from ...sfsr.token_attention import EXPRESSION, IDENTITY, LayerTokens
from ...storage import read_weights
from ..tiny.sfsr import STARTS
from .clip_vision import ClipStates

S_SCALES = 0.0, 5.0
"""Range of ``s_scale``."""

Adapter = SFSRAdapter | PublishedAdapter


@dataclass(frozen=True, eq=False)
class Sources:
    """Identity and expression of one image, as the layers read them.

    adapters: Those that act. tokens, absent: As in ``source_attention.SourceInputs``. starts: Of
    identity and expression, fractions of the denoising. units: What FineFace draws, and what it
    cannot.
    """

    adapters: Sequence[Adapter] = ()
    tokens: Mapping[str, Mapping[str, LayerTokens]] = field(default_factory=dict)
    absent: Mapping[str, Mapping[str, LayerTokens]] = field(default_factory=dict)
    starts: tuple[float, float] = (0.0, 0.0)
    units: UnitIntensities | None = None


def read_adapter(path: str | Path, target: Target, shortcut: bool | None = None) -> Adapter:
    """An adapter of this pack or a published one.

    Args:
        target: The base (``base_file.BaseFile``).
        shortcut: Whether a file of the Plus layout is v2; None: what its name proposes.

    Raises:
        ModelFileError: The file is missing, damaged, or no adapter.
        IncompatibleError: It was made for another base.
    """
    path = Path(path)
    if path.suffix.lower() == ".safetensors" and read_weights(path)[1].get("format") == FORMAT:
        adapter: Adapter = load_adapter(path)
    else:
        adapter = load_published(path, shortcut=shortcut, target=target)
    if dict(adapter.layers) != dict(target.layers):
        raise IncompatibleError(
            "the adapter was made for another base: their cross-attention layers differ",
            where=str(path),
            fix="Use an adapter for this base; for SDXL there are " + SDXL_FILES,
        )
    return adapter


def clip_width(adapter: Adapter | None) -> int:
    """Numbers in a state of CLIP vision that an adapter reads; 0 if it reads none."""
    return adapter.layout.clip_width if isinstance(adapter, IdentityAdapter) else 0


def draws_expressions(identity_adapter: Adapter | None, expression_adapter: Adapter | None) -> bool:
    """Whether one of them reads an expression."""
    return expression_adapter is not None or isinstance(identity_adapter, SFSRAdapter)


def prepare_sources(
    identity_adapter: Adapter | None,
    expression_adapter: Adapter | None,
    photos: Sequence[Identity],
    expression: Expression | None,
    clip: ClipStates | None = None,
    s_scale: float = 1.0,
) -> Sources:
    """The tokens of a person in several photos, and of an expression.

    Args:
        identity_adapter: Also draws the expression if it can and no other adapter is given.
        photos: One identity per photo; empty for anybody.
        clip: CLIP vision of the same photos, for FaceID-Plus and Plus v2.
        s_scale: Of Plus v2: how much CLIP vision adds, 0 to 5, 1 as published.

    Raises:
        InputError: Nothing can draw what is given, an adapter has nothing to draw, or CLIP vision
            is missing.
        IncompatibleError: The identity is of another encoder than the adapter's, or the expression
            holds no numbers that the adapter reads.
    """
    both = isinstance(identity_adapter, SFSRAdapter) and expression_adapter is None
    draws = identity_adapter if both else expression_adapter
    _require(identity_adapter, draws, photos, expression, clip)
    if not S_SCALES[0] <= s_scale <= S_SCALES[1]:
        raise InputError(f"the s_scale is {s_scale:g}", fix="Choose a value from 0 to 5")
    tokens: dict[str, Mapping[str, LayerTokens]] = {}
    absent: dict[str, Mapping[str, LayerTokens]] = {}
    units: UnitIntensities | None = None
    if isinstance(identity_adapter, SFSRAdapter) and photos:
        who = identity_batch([[average(photos)]], identity_adapter.layout)
        made = identity_adapter.embedding.identity(who)
        tokens[IDENTITY] = identity_adapter.attention.source_keys_values(IDENTITY, made)
    elif isinstance(identity_adapter, IdentityAdapter):
        states, nobody = (None, None) if clip is None else (clip.faces[None], clip.absent)
        vectors = identity_adapter.vectors([photos])
        made = identity_adapter.tokens(vectors, states, s_scale=s_scale)
        tokens[IDENTITY] = identity_adapter.keys_values(made)
        made = identity_adapter.absent(nobody, s_scale=s_scale)
        absent[IDENTITY] = identity_adapter.keys_values(made)
    if expression is not None and isinstance(draws, SFSRAdapter):
        made = draws.embedding.expression(expression_batch([expression], draws.layout))
        tokens[EXPRESSION] = draws.attention.source_keys_values(EXPRESSION, made)
    elif expression is not None and isinstance(draws, ExpressionAdapter):
        units = intensities_of(expression)
        tokens[EXPRESSION] = draws.vectors(draws.intensities([units]))
        absent[EXPRESSION] = draws.absent()
    elif expression is not None and isinstance(draws, FlameAdapter):
        made = draws.tokens(draws.numbers([expression]))
        tokens[EXPRESSION] = draws.keys_values(made)
        absent[EXPRESSION] = draws.keys_values(draws.absent())
    published = isinstance(draws, ExpressionAdapter | FlameAdapter)
    acting = [each for each in (identity_adapter, expression_adapter) if each is not None]
    return Sources(acting, tokens, absent, (0.0, 0.0) if published else STARTS, units)


def _require(
    identity_adapter: Adapter | None,
    draws: Adapter | None,
    photos: Sequence[Identity],
    expression: Expression | None,
    clip: ClipStates | None,
) -> None:
    if isinstance(identity_adapter, ExpressionAdapter | FlameAdapter):
        raise IncompatibleError(
            f"{identity_adapter.kind.title} draws expressions and no identity",
            where="--identity-adapter",
            fix="Give it as --expression-adapter",
        )
    if isinstance(draws, IdentityAdapter):
        raise IncompatibleError(
            f"{draws.kind.title} knows identities and no expressions",
            where="--expression-adapter",
            fix="Give it as --identity-adapter",
        )
    if expression is not None and draws is None:
        raise InputError(
            "no adapter draws the expression",
            fix=f"Give FineFace's {BY_KEY['fineface'].where_to_get} as --expression-adapter",
        )
    if (
        draws is not None
        and expression is None
        and isinstance(draws, ExpressionAdapter | FlameAdapter)
    ):
        raise InputError(
            "an expression adapter is given, and no expression",
            fix="Choose a word or an image of the expression",
        )
    if not isinstance(identity_adapter, IdentityAdapter):
        return
    kind = identity_adapter.kind
    if not photos:
        raise InputError("an identity adapter is given, and no person", fix="Give a photo")
    for one in photos:
        if not same_encoder(one.encoder, kind.encoder):
            raise IncompatibleError(
                f"the identity was measured by {one.encoder}, {kind.title} reads vectors of "
                f"{' or '.join(names_of(kind.encoder))}",
                fix="Measure the photo with w600k_r50.onnx: --insightface .../buffalo_l",
            )
    if kind.needs_clip and clip is None:
        raise InputError(
            f"{kind.title} also reads CLIP vision, and none is given",
            where="--identity-adapter",
            fix=f"Give {BY_KEY['clip_vision'].where_to_get} as --clip-vision",
        )
