"""Conversion of the released checkpoint into files of this pack.

All requested parts are checked before anything is written. Each file is then written tensor by
tensor, so that only one or two tensors are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError, ModelFileError
from ...faces.encoders.ir_se50 import ENCODER
from ...readers.lazy_tensor import LazyTensor, to_meta
from ..adapter import PCAdapter
from ..attention_layers import layers_from_state_dict
from ..fused import fuse_query
from ..identity_token import REFERENCE_DELTA
from .adapter_file import ADAPTER_PREFIX, POSE_PREFIX, TOKEN_PREFIX, file_metadata
from .release import SD15_BLOCKS, Part, Release, check_base, check_ir_se50, open_release
from .safetensors_stream import write_stream

Progress = Callable[[int, int], None]
"""Called with (elements written, elements in total)."""


@dataclass(frozen=True)
class Plan:
    """The files to write; None omits a file.

    Args:
        adapter: Adapter, pose branch and identity token.
        base: The Stable Diffusion 1.5 inside: whichever of UNet, VAE and text encoder it has.
        ir_se50: The face encoder.
        fused: Whether the adapter is stored fused: smaller, and enough for inference.
        dtype: Precision of adapter, pose branch and base. The identity token and the face encoder
            stay in float32, because their running variances exceed the range of half precision.
        about: More metadata for each file.
        overwrite: Whether existing files may be replaced.
    """

    adapter: Path
    base: Path | None = None
    ir_se50: Path | None = None
    fused: bool = True
    dtype: torch.dtype = torch.float16
    about: Mapping[str, str] | None = None
    overwrite: bool = False

    def files(self) -> list[Path]:
        """Paths of the files to write."""
        return [path for path in (self.adapter, self.base, self.ir_se50) if path is not None]


@dataclass(frozen=True)
class Written:
    """One file of a conversion."""

    path: Path
    tensors: int
    numbers: int
    nbytes: int


def convert(source: str | Path, plan: Plan, progress: Progress | None = None) -> list[Written]:
    """Convert a released checkpoint (``.ckpt`` or ``.safetensors``).

    Raises:
        ModelFileError, IncompatibleError: As :func:`release.open_release`; also a weight that is
            not finite in the chosen dtype. No file is left half-written.
        InputError: A file cannot be written, exists already, or does not end in ``.safetensors``.
    """
    _check_paths(Path(source), plan)
    with open_release(source) as release:
        files = _contents(release, plan)
        total = sum(t.numel for _, tensors, _ in files for t in tensors.values())
        done = 0

        def step(numbers: int) -> None:
            nonlocal done
            done += numbers
            if progress is not None:
                progress(done, total)

        written: list[Written] = []
        for path, tensors, about in files:
            numbers = sum(t.numel for t in tensors.values())
            about |= {
                "source": Path(source).name,
                "converted": datetime.now(timezone.utc).date().isoformat(),
                "tensors": str(len(tensors)),
                "parameters": str(numbers),
                **(plan.about or {}),
            }
            size = write_stream(path, tensors, about, step)
            written.append(Written(path, len(tensors), numbers, size))
        return written


_Contents = list[tuple[Path, dict[str, LazyTensor], dict[str, str]]]


def _contents(release: Release, plan: Plan) -> _Contents:
    """(path, tensors, metadata) of each file."""
    files: _Contents = [(plan.adapter, *_adapter_file(release, plan))]
    if plan.base is not None:
        check_base(release)
        files.append((plan.base, _stored(release.base, "", plan.dtype), {}))
    if plan.ir_se50 is not None:
        check_ir_se50(release)
        tensors = _stored(release.ir_se50, "", torch.float32)
        files.append((plan.ir_se50, tensors, {"encoder": ENCODER}))
    return files


def _adapter_file(release: Release, plan: Plan) -> tuple[dict[str, LazyTensor], dict[str, str]]:
    adapter = live_projections(release.adapter, plan.fused)
    tensors = _stored(adapter, ADAPTER_PREFIX, plan.dtype)
    tensors |= _stored(release.pose_branch, POSE_PREFIX, plan.dtype)
    tensors |= _stored(release.token, TOKEN_PREFIX, torch.float32)
    description = PCAdapter.from_shapes(to_meta(adapter))
    about = file_metadata(description, REFERENCE_DELTA if release.token else None)
    about["encoder"] = ENCODER
    if {layer.block: layer.channels for layer in description.layers} == SD15_BLOCKS:
        about["base_model"] = "Stable Diffusion 1.5"
    return tensors, about


def live_projections(adapter: Part, fused: bool) -> dict[str, LazyTensor]:
    """The release's adapter without weights that have no effect; ``id_to_q`` in float32."""
    kept: dict[str, LazyTensor] = {}
    layers, id_dim = layers_from_state_dict(to_meta(adapter))
    for layer in layers:
        for name in layer.projections(fused):
            key = f"{layer.key}.{name}.weight"
            if name == "id_to_q":
                pair = (adapter[f"{layer.key}.{n}.weight"] for n in ("per_q", "feat_to_q"))
                kept[key] = _product(*pair, shape=(layer.channels, id_dim))
            else:
                kept[key] = adapter[key]
    return kept


def _product(per_q: LazyTensor, feat_to_q: LazyTensor, shape: tuple[int, ...]) -> LazyTensor:
    return LazyTensor(shape, torch.float32, lambda: fuse_query(per_q.read(), feat_to_q.read()))


def _stored(part: Part, prefix: str, dtype: torch.dtype) -> dict[str, LazyTensor]:
    """The part under its names in the file, floating point tensors in ``dtype``."""
    return {
        prefix + name: _cast(prefix + name, tensor, dtype)
        if tensor.dtype.is_floating_point
        else tensor
        for name, tensor in part.items()
    }


def _cast(name: str, tensor: LazyTensor, dtype: torch.dtype) -> LazyTensor:
    def read() -> Tensor:
        numbers = tensor.read().to(dtype)
        if not bool(torch.isfinite(numbers).all()):
            raise ModelFileError(
                f"the weight {name} holds values that are not finite in {dtype}",
                fix="Use --dtype float32, or download the checkpoint again",
            )
        return numbers

    return LazyTensor(tensor.shape, dtype, read)


def _check_paths(source: Path, plan: Plan) -> None:
    files = plan.files()
    for path in files:
        if path.suffix.lower() != ".safetensors":
            raise InputError(
                "only .safetensors files can be written", where=str(path), fix="Choose another name"
            )
        if path.is_dir() or (path.exists() and not plan.overwrite):
            raise InputError("the file exists already", where=str(path), fix="Choose another name")
    if len({path.resolve() for path in [source, *files]}) <= len(files):
        raise InputError(
            "two of the files are the same", where=str(source), fix="Give each another name"
        )
