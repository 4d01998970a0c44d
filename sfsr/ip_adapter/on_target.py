"""What every published adapter says of itself, by its layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from .kinds import AdapterKind
from .layout import AnyLayout

Layout = TypeVar("Layout", bound=AnyLayout)


class OnTarget(Generic[Layout]):
    """Base of the adapters.

    layout: Recognised by ``layout.recognise``.
    """

    layout: Layout

    @property
    def kind(self) -> AdapterKind:
        """With its licence, its default start and the ways of combining images."""
        return self.layout.kind

    @property
    def layers(self) -> Mapping[str, int]:
        """Block to width C of all cross-attentions."""
        return self.layout.target.layers

    @property
    def width(self) -> int:
        """Of the base's text."""
        return self.layout.target.width
