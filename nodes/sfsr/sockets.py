"""SFSR's own sockets, adapter and scene, on the CPU, and its nodes' place in the menu."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from comfy_api.latest import io

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ...sfsr.adapter import SFSRAdapter
    from ...sfsr.ip_adapter.load import PublishedAdapter
    from .tokens import AdapterTokens

CATEGORY = "face/sfsr"
SFSRAdapterSocket = io.Custom("SFSR_ADAPTER")
BackgroundSocket = io.Custom("SFSR_BACKGROUND")


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
    """SFSR_ADAPTER: an identity adapter, an expression adapter, or both in one file.

    name: The file's name, for messages.
    """

    name: str
    adapter: SFSRAdapter | PublishedAdapter

    @cached_property
    def tokens(self) -> AdapterTokens:
        """Makes (and keeps) what people, expressions and scenes are for this adapter's layers."""
        from .tokens import AdapterTokens

        return AdapterTokens(self.name, self.adapter)
