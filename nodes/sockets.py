"""Our own socket types: what runs between our nodes.

Payloads are frozen, live on the CPU and carry the name of the encoder that made them, so that a
mismatch is an error in words and never a strange picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..errors import IncompatibleError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..dense_face.folded import FoldedAdapter
    from ..dense_face.identity_token import IdentityToken
    from ..faces.identity import Identity
    from .host.runtime import SiteDelta

AdapterSocket = io.Custom("DENSEFACE_ADAPTER")
IdentitySocket = io.Custom("DENSEFACE_IDENTITY")
PoseSocket = io.Custom("DENSEFACE_POSE")
AnalyzerSocket = io.Custom("DENSEFACE_ANALYZER")


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """DENSEFACE_ADAPTER: what Dense-Face adds to a base model, except the pose branch.

    name: The file's name, for messages.
    encoder: The face encoder whose identities it understands; empty if the file does not say.
    """

    name: str
    folded: FoldedAdapter
    token: IdentityToken | None
    encoder: str

    @cached_property
    def deltas(self) -> Mapping[tuple[str, str], SiteDelta]:
        """The run-time form, made at its first use and kept with the adapter."""
        from .host.runtime import build_deltas

        return build_deltas(self.folded.weights)

    def vectors(self, people: People) -> Tensor:
        """The identities [N, D] for this adapter.

        Raises:
            IncompatibleError: They were measured by another encoder.
        """
        if self.encoder:
            for identity in people.identities:
                identity.require(self.encoder)
        vectors = people.vectors
        width = next((m.shape[1] for m in self.folded.bias_matrices.values()), vectors.shape[1])
        if vectors.shape[1] != width:
            raise IncompatibleError(
                f"the identity has {vectors.shape[1]} numbers, the adapter wants {width}",
                where=self.name,
                fix="Measure the reference pictures with the adapter's own encoder",
            )
        return vectors


@dataclass(frozen=True, eq=False)
class People:
    """DENSEFACE_IDENTITY: one identity for a whole batch, or one for each of its pictures."""

    identities: tuple[Identity, ...]

    @property
    def vectors(self) -> Tensor:
        """[N, D]."""
        import torch

        return torch.stack([identity.vector for identity in self.identities])


@dataclass(frozen=True)
class HeadPoses:
    """DENSEFACE_POSE: (yaw, pitch, roll) in degrees for each picture; signs as in the docs."""

    angles: tuple[tuple[float, float, float], ...]

    def __len__(self) -> int:
        return len(self.angles)


@dataclass(frozen=True, eq=False)
class LoadedAnalyzer:
    """DENSEFACE_ANALYZER: a face analyzer under the host's memory management.

    patcher: The host's handle; its ``model`` is the network.
    """

    patcher: Any
    encoder: str
