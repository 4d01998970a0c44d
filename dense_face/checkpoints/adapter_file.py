"""Adapter files of this pack: ``format=denseface-adapter/1``, one safetensors file for all parts.

Names inside the file are the release's: ``model.diffusion_model.`` + adapter, ``control_model.`` +
pose branch, ``embedding_manager.`` + identity token. Pose branch and token may be absent. The
adapter is stored unfused, as it was trained, or fused, as in converted files
(``attention_layers``); the metadata key ``form`` says which, and readers accept both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ... import limits
from ...errors import ModelFileError, refuse_with
from ...state_dict import as_float32, check_values
from ...storage import read_format, write_weights
from ..adapter import DELTA, PCAdapter
from ..fused import FusedAdapter, fuse
from ..identity_token import REFERENCE_DELTA, IdentityToken
from ..pose_branch import PoseBranch

FORMAT = "denseface-adapter/1"
ADAPTER_PREFIX = "model.diffusion_model."
POSE_PREFIX = "control_model."
TOKEN_PREFIX = "embedding_manager."  # noqa: S105 (no password)
_FIX = "Choose a Dense-Face adapter file; denseface convert makes one from the authors' checkpoint"
_PREFIXES = (ADAPTER_PREFIX, POSE_PREFIX, TOKEN_PREFIX)


@dataclass(frozen=True, eq=False)
class DenseFaceAdapter:
    """Everything Dense-Face adds to a base model, ready to run (float32, evaluation mode).

    ``metadata`` is that of the file; it may also say how the adapter was made.
    """

    adapter: PCAdapter
    pose_branch: PoseBranch | None = None
    token: IdentityToken | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def encoder(self) -> str:
        """Name of the face encoder that the adapter was trained with."""
        return self.metadata.get("encoder", "")

    @property
    def base_model(self) -> str:
        """Name of the base model the adapter was trained on."""
        return self.metadata.get("base_model", "")


@dataclass(frozen=True, eq=False)
class AdapterParts:
    """The tensors of an adapter file by part, without prefixes, in the stored dtypes.

    ``delta`` and ``reference_delta`` raise ModelFileError if the metadata value is not a number.
    """

    adapter: dict[str, Tensor]
    pose_branch: dict[str, Tensor]
    token: dict[str, Tensor]
    metadata: dict[str, str]
    where: str = ""

    @property
    def delta(self) -> float:
        """Strength of the PC-adapter."""
        return self._number("delta", DELTA)

    @property
    def reference_delta(self) -> float:
        """Strength of the identity token's offset."""
        return self._number("reference_delta", REFERENCE_DELTA)

    def fused(self) -> FusedAdapter:
        """The adapter as weight deltas (stored dtype, not copied) and bias matrices.

        Raises:
            ModelFileError: A weight is missing or unknown.
            IncompatibleError: The weights are not those of a Stable Diffusion 1.x adapter.
        """
        PCAdapter.from_shapes(self.adapter)
        return fuse(self.adapter, self.delta)

    def _number(self, key: str, default: float) -> float:
        refusal = ModelFileError(
            f"the adapter file says {key}={self.metadata.get(key)!r}, which is no strength",
            where=self.where,
            fix="Write or convert it again",
        )
        with refuse_with(refusal):
            number = float(self.metadata.get(key, default))
        if not abs(number) <= limits.WEIGHT:
            raise refusal
        return number


def read_parts(path: str | Path) -> AdapterParts:
    """Read the tensors of an adapter file without building modules.

    Raises:
        ModelFileError: The file is missing, truncated, altered or of another format, or contains an
            unknown weight, or one that is not finite.
    """
    tensors, metadata = read_format(path, FORMAT, _FIX)
    check_values(tensors, str(path))
    split: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in _PREFIXES}
    for name, tensor in tensors.items():
        prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
        if prefix is None:
            raise ModelFileError(
                f"the adapter file contains an unknown weight {name}",
                where=str(path),
                fix="Write or convert it again",
            )
        split[prefix][name.removeprefix(prefix)] = tensor
    return AdapterParts(
        *(split[prefix] for prefix in _PREFIXES), metadata=metadata, where=str(path)
    )


def load_adapter(path: str | Path) -> DenseFaceAdapter:
    """Read an adapter file into modules on the CPU, in float32 and evaluation mode.

    Raises:
        ModelFileError: As :func:`read_parts`; also a missing weight, or a strength that is not a
            number.
        IncompatibleError: The weights are not those of a Stable Diffusion 1.x adapter.
    """
    parts = read_parts(path)
    adapter = PCAdapter.from_state_dict(as_float32(parts.adapter), delta=parts.delta)
    pose_branch = token = None
    if parts.pose_branch:
        pose_branch = PoseBranch.from_state_dict(as_float32(parts.pose_branch)).eval()
    if parts.token:
        token = IdentityToken.from_state_dict(
            as_float32(parts.token), reference_delta=parts.reference_delta
        )
    return DenseFaceAdapter(adapter.eval(), pose_branch, token, parts.metadata)


def save_adapter(
    path: str | Path,
    dense_face: DenseFaceAdapter,
    *,
    dtype: torch.dtype = torch.float16,
    pose_dtype: torch.dtype | None = None,
) -> None:
    """Write an adapter file, atomically.

    Matrices and kernels are stored in ``dtype``. The identity token's vectors stay in float32,
    because its running variances exceed the range of half precision. Weights of the adapter that
    have no effect are omitted. :func:`file_metadata` is added to the metadata.

    Args:
        pose_dtype: dtype of the pose branch's matrices and kernels, ``dtype`` if None. With
            ``torch.float8_e4m3fn`` its vectors stay in ``dtype``: they are few, and rounding would
            change them by several percent.

    Raises:
        InputError: The file cannot be written.
    """
    adapter, token = dense_face.adapter, dense_face.token
    tensors = _prefixed(adapter.live_state_dict(), ADAPTER_PREFIX, dtype)
    if dense_face.pose_branch is not None:
        state = dense_face.pose_branch.state_dict()
        tensors |= _prefixed(state, POSE_PREFIX, dtype)
        tensors |= _prefixed(_matrices(state), POSE_PREFIX, pose_dtype or dtype)
    if token is not None:
        state = token.state_dict()
        tensors |= _prefixed(state, TOKEN_PREFIX, torch.float32)
        tensors |= _prefixed(_matrices(state), TOKEN_PREFIX, dtype)
    reference_delta = None if token is None else token.reference_delta
    about = file_metadata(adapter, reference_delta)
    write_weights(path, tensors, {**dense_face.metadata, **about})


def file_metadata(adapter: PCAdapter, reference_delta: float | None) -> dict[str, str]:
    """Metadata of every adapter file.

    Args:
        adapter: The adapter in the file; the ``meta`` device is enough.
        reference_delta: Strength of the identity token, None if the file has none.
    """
    widths = {layer.block: layer.channels for layer in adapter.layers}
    about = {
        "format": FORMAT,
        "form": "folded" if adapter.fused else "unfolded",  # fixed by denseface-adapter/1
        "id_dim": str(adapter.id_dim),
        "delta": repr(float(adapter.delta)),
        "widths": ",".join(f"{block}={width}" for block, width in widths.items()),
    }
    if reference_delta is not None:
        about["reference_delta"] = repr(float(reference_delta))
    return about


def _matrices(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Only the matrices and kernels."""
    return {name: tensor for name, tensor in tensors.items() if tensor.ndim > 1}


def _prefixed(tensors: Mapping[str, Tensor], prefix: str, dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        prefix + name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
