"""SFSR's own sockets: adapter and scene, on the CPU.

Keys and values of the tokens are made here, once for each person and expression: no network of the
adapter runs while sampling, and none needs the device.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ...errors import IncompatibleError, InputError
from ..sockets import Expressions, People

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from ...sfsr.adapter import SFSRAdapter
    from ...sfsr.background import BackgroundHint
    from ...sfsr.faceid import FaceIDAdapter
    from ...sfsr.token_attention import KeysValues

SFSRAdapterSocket = io.Custom("SFSR_ADAPTER")
BackgroundSocket = io.Custom("SFSR_BACKGROUND")
_REMEMBERED = 8
"""People, expressions and scenes whose keys, values and hints an adapter keeps."""


@dataclass(frozen=True, eq=False)
class SceneBackground:
    """SFSR_BACKGROUND: a scene without its face.

    mask: [B, 1, H, W], 1 = the new face.
    latent: Of the emptied scene [B, 4, h, w], as the VAE gives it.
    order: Of the channels, for inpainting UNets (``sfsr.background.ORDERS``).
    """

    mask: Tensor
    latent: Tensor
    order: str

    def channels(self, scaling: Callable[[Tensor], Tensor], order: str | None = None) -> Tensor:
        """Mask and scaled latent [B, 5, h, w]."""
        from ...sfsr.background import background_channels, latent_mask

        small = latent_mask(self.mask, *self.latent.shape[-2:])
        return background_channels(small, scaling(self.latent), order or self.order)


@dataclass(frozen=True, eq=False)
class LoadedSFSR:
    """SFSR_ADAPTER: tokens of identity and expression, their keys and values, the scene's hint.

    name: The file's name, for messages.
    lora: Of IP-Adapter-FaceID: place of a weight to (down, up).
    """

    name: str
    adapter: SFSRAdapter | FaceIDAdapter
    lora: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def identity(self, people: tuple[People, ...]) -> Mapping[str, KeysValues]:
        """Layer to keys and values [N, n, C] of people, each measured by one or more encoders.

        Raises:
            InputError: The encoders measured different numbers of people.
            IncompatibleError: An encoder is not the adapter's, or the required one is missing.
        """
        return self._identities(people)[1]

    def expression(
        self, faces: Expressions, apart_from: tuple[People, ...] | None
    ) -> Mapping[str, KeysValues]:
        """Layer to keys and values [M, n, C], perhaps without what lies in people's directions.

        Raises:
            InputError: There are neither as many faces as people nor one of either.
            IncompatibleError: The adapter knows no expressions, or not those of this network.
        """
        return self._expressions(faces, apart_from)

    @cached_property
    def absent(self) -> Mapping[str, KeysValues] | None:
        """What stands for the identity in the half without prompt; None for nothing."""
        from ...sfsr.faceid import FaceIDAdapter

        adapter = self.adapter
        if not isinstance(adapter, FaceIDAdapter):
            return None
        return adapter.attention.source_keys_values("identity", adapter.embedding.absent())

    def hint(self, scene: SceneBackground) -> Callable[[Callable[[Tensor], Tensor]], Tensor] | None:
        """Makes (or fetches) what a scene adds behind the first convolution; None without hint."""
        hint = self.adapter.hint
        if hint is None:
            return None
        return lambda scaling: self._hints(hint, scene, scaling)

    # Kept by what they were made of; payloads are small, live on the CPU and never change.

    @cached_property
    def _identities(self) -> Any:
        return lru_cache(_REMEMBERED)(self._make_identity)

    @cached_property
    def _expressions(self) -> Any:
        return lru_cache(_REMEMBERED)(self._make_expression)

    @cached_property
    def _hints(self) -> Any:
        return lru_cache(_REMEMBERED)(_make_hint)

    def _make_identity(self, people: tuple[People, ...]) -> tuple[Tensor, Mapping[str, KeysValues]]:
        from ...sfsr.compound_inputs import identity_batch

        counts = {len(each.identities) for each in people} - {1}
        if len(counts) > 1:
            raise InputError(
                f"the identities are those of {' and '.join(map(str, sorted(counts)))} people",
                where=self.name,
                fix="Measure the same people with each encoder",
            )
        count = max(counts, default=1)
        dilate = [each.identities * (count // len(each.identities)) for each in people]
        batch = identity_batch(list(zip(*dilate, strict=True)), self.adapter.layout)
        tokens = self.adapter.embedding.identity(batch)
        return tokens, self.adapter.attention.source_keys_values("identity", tokens)

    def _make_expression(
        self, faces: Expressions, apart_from: tuple[People, ...] | None
    ) -> Mapping[str, KeysValues]:
        from ...sfsr.compound import CompoundEmbedding, without_identity
        from ...sfsr.compound_inputs import expression_batch

        embedding = self.adapter.embedding
        if not isinstance(embedding, CompoundEmbedding):
            raise IncompatibleError(
                "an IP-Adapter-FaceID file knows who somebody is and no expressions",
                where=self.name,
                fix="Disconnect the expression, or load an SFSR adapter",
            )
        tokens = embedding.expression(expression_batch(faces.codes, self.adapter.layout))
        if apart_from is not None:
            people = self._identities(apart_from)[0]
            if len(people) != len(tokens) and 1 not in (len(people), len(tokens)):
                raise InputError(
                    f"there are {len(tokens)} expressions for {len(people)} identities",
                    where=self.name,
                    fix="Give one for all or exactly one for each",
                )
            tokens = without_identity(*_as_many(tokens, people))
        return self.adapter.attention.source_keys_values("expression", tokens)


def _make_hint(
    hint: BackgroundHint, scene: SceneBackground, scaling: Callable[[Tensor], Tensor]
) -> Tensor:
    from ...sfsr.background import HOST

    return hint(scene.channels(scaling, HOST))


def _as_many(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    count = max(len(one), len(other))
    return one.expand(count, -1, -1), other.expand(count, -1, -1)
