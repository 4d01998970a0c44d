"""Keys, values and constants that an adapter makes of people, expressions and scenes.

They are made once for each person, expression and scene, on the CPU: no network of the adapter runs
while sampling, and none needs the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ...errors import IncompatibleError, InputError
from ...faces.encoders.names import names_of, same_encoder
from ...sfsr.adapter import SFSRAdapter
from ...sfsr.background import HOST, BackgroundHint
from ...sfsr.compound import without_identity
from ...sfsr.compound_inputs import expression_batch, identity_batch
from ...sfsr.disfa import UnitIntensities
from ...sfsr.disfa_sources import intensities_of
from ...sfsr.ip_adapter.arc2face import FlameAdapter
from ...sfsr.ip_adapter.fineface import ExpressionAdapter
from ...sfsr.ip_adapter.identity_adapter import IdentityAdapter
from ...sfsr.ip_adapter.kinds import TOKENS
from ...sfsr.ip_adapter.load import PublishedAdapter
from ...sfsr.token_attention import EXPRESSION, IDENTITY, SOURCES, LayerTokens
from ..sockets import Expressions, People
from .sockets import SceneBackground

Adapter = SFSRAdapter | PublishedAdapter
Scaling = Callable[[Tensor], Tensor]
_KEPT = 8
"""People, expressions and scenes whose tokens an adapter keeps."""


@dataclass(frozen=True, eq=False)
class SourceTokens:
    """A source in all layers: for the prompt's half, and for the other (None: nothing)."""

    present: Mapping[str, LayerTokens]
    absent: Mapping[str, LayerTokens] | None = None


class AdapterTokens:
    """What one adapter makes of its inputs; payloads never change, so results are kept.

    Args:
        name: The file's name, for messages.
        adapter: The network.
    """

    def __init__(self, name: str, adapter: Adapter) -> None:
        self.name, self.adapter = name, adapter
        self.identity = lru_cache(_KEPT)(self._identity)
        self.expression = lru_cache(_KEPT)(self._expression)
        self._tokens = lru_cache(_KEPT)(self._compound_identity)
        self._hints = lru_cache(_KEPT)(_hint)

    @property
    def sources(self) -> tuple[str, ...]:
        """Which of ``token_attention.SOURCES`` the adapter has."""
        return SOURCES if isinstance(self.adapter, SFSRAdapter) else self.adapter.kind.sources

    @property
    def title(self) -> str:
        """The adapter in one line: its name, what it is, and the licence of a published one."""
        if isinstance(self.adapter, SFSRAdapter):
            return f"{self.name}: SFSR adapter"
        kind = self.adapter.kind
        return f"{kind.title} ({self.name}), licence: {kind.licence}"

    @property
    def published(self) -> bool:
        """Whether it is a published adapter, which acts from the first step."""
        return not isinstance(self.adapter, SFSRAdapter)

    @property
    def width(self) -> int:
        """Width of the base's text."""
        adapter = self.adapter
        return adapter.layout.width if isinstance(adapter, SFSRAdapter) else adapter.width

    @property
    def lora(self) -> Mapping[str, tuple[Tensor, Tensor]]:
        """Place of a weight to (down, up); empty without a LoRA."""
        return self.adapter.lora.pairs if isinstance(self.adapter, IdentityAdapter) else {}

    def units(self, faces: Expressions) -> list[UnitIntensities]:
        """The action units that the adapter draws of each expression; none if it reads others."""
        if not isinstance(self.adapter, ExpressionAdapter):
            return []
        return [intensities_of(code) for code in faces.codes]

    def hint(self, scene: SceneBackground) -> Callable[[Scaling], Tensor] | None:
        """Makes (or fetches) what a scene adds behind the first convolution; None without hint."""
        hint = self.adapter.hint
        return None if hint is None else lambda scaling: self._hints(hint, scene, scaling)

    def _identity(
        self, people: tuple[People, ...], combining: str | None = None, s_scale: float = 1.0
    ) -> SourceTokens:
        """Tokens of N people, each measured by one or more encoders.

        Args:
            combining: How several reference images of one person are combined, for published
                adapters (``ip_adapter.kinds``); None for the adapter's own way.
            s_scale: Of FaceID-Plus v2: how much CLIP vision adds beside the face's vector.

        Raises:
            InputError: The encoders measured different numbers of people, or CLIP vision is
                missing for an adapter that reads it.
            IncompatibleError: The adapter has no identity, or an encoder is not the adapter's.
        """
        adapter = self.adapter
        if isinstance(adapter, ExpressionAdapter | FlameAdapter):
            raise IncompatibleError(
                f"{adapter.kind.title} draws expressions and no identity",
                where=self.name,
                fix="Load an identity adapter (such as IP-Adapter-FaceID) into adapter, and "
                "connect this one to expression adapter",
            )
        if isinstance(adapter, SFSRAdapter):
            tokens = self._tokens(people)
            return SourceTokens(adapter.attention.source_keys_values(IDENTITY, tokens))
        known = self._readable(people, adapter)
        combining = combining or adapter.kind.combining[0]
        several = known.references if combining == TOKENS else [(one,) for one in known.identities]
        clip = None if known.clip_states is None else torch.stack(known.clip_states)
        tokens = adapter.tokens(
            adapter.vectors(several), clip, combining=combining, s_scale=s_scale
        )
        nobody = adapter.absent(known.clip_absent, s_scale=s_scale)
        return SourceTokens(adapter.keys_values(tokens), adapter.keys_values(nobody))

    def _readable(self, people: tuple[People, ...], adapter: IdentityAdapter) -> People:
        """Those among the people's measurements that the adapter's encoder made."""
        wanted = adapter.kind.encoder
        for each in people:
            if all(same_encoder(one.encoder, wanted) for one in each.identities):
                return each
        found = " and ".join(sorted({one.encoder for each in people for one in each.identities}))
        raise IncompatibleError(
            f"the identity was measured by {found}, {adapter.kind.title} reads vectors of "
            f"{' or '.join(names_of(wanted))}",
            where=self.name,
            fix="Measure the reference images with w600k_r50.onnx (InsightFace's buffalo_l)",
        )

    def _expression(
        self, faces: Expressions, apart_from: tuple[People, ...] | None = None
    ) -> SourceTokens:
        """Tokens of M expressions, perhaps without what lies in people's directions.

        Raises:
            InputError: There are neither as many faces as people nor one of either.
            IncompatibleError: The adapter has no expressions, not those of this network, or they
                cannot be kept apart from the identity.
        """
        adapter = self.adapter
        if isinstance(adapter, IdentityAdapter):
            raise IncompatibleError(
                f"{adapter.kind.title} knows identities and no expressions",
                where=self.name,
                fix="Connect an expression adapter (such as FineFace) to expression adapter, or "
                "disconnect the expression",
            )
        if isinstance(adapter, ExpressionAdapter | FlameAdapter) and apart_from is not None:
            raise IncompatibleError(
                f"{adapter.kind.title} has no tokens that an identity could be taken out of",
                where=self.name,
                fix="Switch expression without identity off",
            )
        if isinstance(adapter, FlameAdapter):
            drawn = adapter.keys_values(adapter.tokens(adapter.numbers(faces.codes)))
            return SourceTokens(drawn, adapter.keys_values(adapter.absent()))
        if isinstance(adapter, ExpressionAdapter):
            units = adapter.intensities(self.units(faces))
            return SourceTokens(adapter.vectors(units), adapter.absent())
        tokens = adapter.embedding.expression(expression_batch(faces.codes, adapter.layout))
        if apart_from:
            people = self._tokens(apart_from)
            if len(people) != len(tokens) and 1 not in (len(people), len(tokens)):
                raise InputError(
                    f"there are {len(tokens)} expressions for {len(people)} identities",
                    where=self.name,
                    fix="Give one for all or exactly one for each",
                )
            tokens = without_identity(*_as_many(tokens, people))
        return SourceTokens(adapter.attention.source_keys_values(EXPRESSION, tokens))

    def _compound_identity(self, people: tuple[People, ...]) -> Tensor:
        counts = {len(each.identities) for each in people} - {1}
        if len(counts) > 1:
            raise InputError(
                f"the identities are those of {' and '.join(map(str, sorted(counts)))} people",
                where=self.name,
                fix="Measure the same people with each encoder",
            )
        if not isinstance(self.adapter, SFSRAdapter):
            raise TypeError(f"{self.name} has no compound embedding")
        count = max(counts, default=1)
        repeated = [each.identities * (count // len(each.identities)) for each in people]
        batch = identity_batch(list(zip(*repeated, strict=True)), self.adapter.layout)
        return self.adapter.embedding.identity(batch)


def _hint(hint: BackgroundHint, scene: SceneBackground, scaling: Scaling) -> Tensor:
    return hint(scene.channels(scaling, HOST))


def _as_many(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    count = max(len(one), len(other))
    return one.expand(count, -1, -1), other.expand(count, -1, -1)
