"""Files of the published layouts at full size, with random values, for runs in the real host."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from comfyui_dense_face.dense_face.checkpoints.convert import Plan, convert
from comfyui_dense_face.dense_face.checkpoints.safetensors_stream import write_stream
from comfyui_dense_face.pipelines.base import new_unet
from comfyui_dense_face.pipelines.single_file import SD15_UNET
from comfyui_dense_face.readers.lazy_tensor import LazyTensor
from comfyui_dense_face.sfsr.ip_adapter.expected import expected_shapes
from comfyui_dense_face.sfsr.ip_adapter.kinds import ARC2FACE_EXPRESSION, FACEID
from comfyui_dense_face.sfsr.ip_adapter.layout import FlameLayout, IdentityLayout
from comfyui_dense_face.sfsr.ip_adapter.places import SD15, SDXL
from released_file import full_shapes, random_tensors
from safetensors.torch import save_file
from torch import Tensor

LAYOUTS = Path(__file__).resolve().parents[1] / "data" / "published_parity"
_DTYPES = {"F16": torch.float16, "F32": torch.float32}
_BASE = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")
_MAPS = (".per_q.", ".per_k.", ".per_v.", ".feat_to_q.")
_HINT = "control_model.input_hint_block."
_BESIDE_THE_BASE = ("control_model.", "embedding_manager.")
_FIRST = "model.diffusion_model.input_blocks.0.0.weight"


def write_sd15(path: Path, *, inpainting: bool = False) -> Path:
    """Stable Diffusion 1.5 in half precision (2.1 GB), with 9 input channels if inpainting.

    A ``.ckpt`` is written as it is published: a pickle with a ``state_dict``.
    """
    shapes = {
        name: kind
        for name, kind in full_shapes().items()
        if name.startswith(_BASE) and not any(part in name for part in _MAPS)
    }
    if inpainting:
        (first, _, *kernel), dtype = shapes[_FIRST]
        shapes[_FIRST] = ((first, 9, *kernel), dtype)
    tensors = _halves(shapes)
    if path.suffix == ".ckpt":
        torch.save({"state_dict": tensors}, path)
    else:
        save_file(tensors, path)
    return path


def write_converted_release(path: Path) -> Path:
    """What ``denseface convert`` makes of a release (0.6 GB)."""
    shapes = {
        name: kind
        for name, kind in full_shapes().items()
        if name.startswith(_BESIDE_THE_BASE) or any(part in name for part in _MAPS)
    }
    tensors = _halves(shapes)
    _strengthen_hint(tensors)
    source = path.with_suffix(".release.safetensors")
    save_file(tensors, source)
    try:
        convert(source, Plan(path))
    finally:
        source.unlink()
    return path


def write_controlnet(path: Path) -> Path:
    """A ControlNet for Stable Diffusion 1.5 in the original layout (0.7 GB)."""
    unet, control = _BASE[0], "control_model."
    encoder = tuple(unet + part for part in ("time_embed.", "input_blocks.", "middle_block."))
    added = tuple(control + p for p in ("zero_convs.", "middle_block_out.", "input_hint_block."))
    shapes = {
        name.replace(unet, control): kind
        for name, kind in full_shapes().items()
        if name.startswith((*encoder, *added)) and not any(part in name for part in _MAPS)
    }
    tensors = _halves(shapes)
    _strengthen_hint(tensors)
    save_file(tensors, path)
    return path


def write_sdxl(path: Path) -> Path:
    """SDXL in half precision (6.9 GB), written tensor by tensor."""
    from small_sdxl_file import checkpoint, full_networks

    # Rows of matrices differ, since no width divides this prime.
    values = torch.randn(4_194_301, generator=torch.Generator().manual_seed(4)).half()

    def lazy(number: int, name: str, shape: torch.Size) -> LazyTensor:
        def read() -> Tensor:
            if len(shape) < 2:
                return torch.full(shape, float(name.endswith("weight"))).half()
            count = math.prod(shape)
            rolled = values.roll(977 * number).repeat(count // len(values) + 1)[:count]
            return rolled.mul(math.prod(shape[1:]) ** -0.5).reshape(shape)

        return LazyTensor(tuple(shape), torch.float16, read)

    shapes = {name: tensor.shape for name, tensor in checkpoint(full_networks()).items()}
    lazies = {name: lazy(n, name, shape) for n, (name, shape) in enumerate(shapes.items())}
    write_stream(path, lazies, {})
    return path


def write_faceid_sdxl(path: Path) -> Path:
    """IP-Adapter-FaceID for SDXL in half precision (1.1 GB), with its LoRA."""
    _write_adapter(path, IdentityLayout(FACEID, SDXL, 512, 1024, 4, 128))
    return path


def write_arc2face(unet: Path, encoder: Path, adapter: Path) -> None:
    """Arc2Face's UNet in half precision (1.7 GB), its text encoder and its expression adapter."""
    with torch.device("meta"):
        names = new_unet(SD15_UNET).state_dict()
    save_file(_halves({name: (tuple(t.shape), t.dtype) for name, t in names.items()}), unet)
    write_published(encoder, "arc2face", "encoder")
    _write_adapter(adapter, FlameLayout(ARC2FACE_EXPRESSION, SD15, 110, 4))


def _write_adapter(path: Path, layout: IdentityLayout | FlameLayout) -> None:
    """A published adapter's file in half precision."""
    generator = torch.Generator().manual_seed(5)
    parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, shape in expected_shapes(layout).items():
        part, _, rest = name.partition(".")
        parts[part][rest] = torch.randn(shape, generator=generator).mul_(0.05).half()
    torch.save(parts, path)


def _strengthen_hint(tensors: Mapping[str, Tensor]) -> None:
    """Eight layers read the image: as random as the rest they would all but lose it."""
    for name, tensor in tensors.items():
        if name.startswith(_HINT) and tensor.ndim > 1:
            tensor.mul_(3)


def _halves(shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> dict[str, Tensor]:
    """Random tensors in half precision, made one by one: twice the size is never in memory."""
    tensors: dict[str, Tensor] = {}
    for name, kind in shapes.items():
        made = random_tensors({name: kind}, seed=len(tensors))[name]
        tensors[name] = made.half() if made.is_floating_point() else made
    return tensors


def write_published(path: Path, folder: str, layout: str, *, legacy: bool = False) -> Path:
    """A published adapter's file by its layout in ``published_parity``."""
    text = (LAYOUTS / folder / f"layout_{layout}.json").read_text(encoding="utf-8")
    generator = torch.Generator().manual_seed(3)
    nested: dict[str, Tensor] = {}
    for name, (shape, dtype) in json.loads(text).items():
        values = torch.randn(shape, generator=generator).mul_(0.02)
        nested[name] = values.to(_DTYPES[dtype])
    if any(name.startswith("image_proj.") for name in nested):
        parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for name, values in nested.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = values
        torch.save(parts, path, _use_new_zipfile_serialization=not legacy)
    else:
        torch.save(nested, path, _use_new_zipfile_serialization=not legacy)
    return path
