"""CLIP vision on aligned faces, for FaceID-Plus and Plus v2, from one local file.

The states are those before the last layer, so that layer is never built. Only sizes are read from
the file; heads of 80 numbers and the exact GELU are ViT-H/14's.
Source: docs/reference/published_weights.md C2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import IncompatibleError, ModelFileError, refuse_with
from ...published_files import BY_KEY
from ...sfsr.ip_adapter.face_image import FACE_SIZE
from ...state_dict import as_float32
from ..checkpoint_file import read_tensors

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's pixels."""
HEAD_WIDTH = 80
_NAMES = {1024: "ViT-L/14", 1280: "ViT-H/14", 1664: "ViT-bigG/14"}
_WANTED = BY_KEY["clip_vision"]
_PREFIX = "vision_model."
_OPEN_CLIP = "visual."
_PATCHES, _PLACES = "embeddings.patch_embedding.weight", "embeddings.position_embedding.weight"
_LAYER = re.compile(r"encoder\.layers\.([0-9]{1,3})\.mlp\.fc1\.weight")
_RENAMED = {
    "class_embedding": "embeddings.class_embedding",
    "conv1.": "embeddings.patch_embedding.",
    "positional_embedding": _PLACES,
    "ln_pre.": "pre_layrnorm.",
    "ln_post.": "post_layernorm.",
    "transformer.resblocks.": "encoder.layers.",
}
_RENAMED_IN_LAYERS = {
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".attn.out_proj.": ".self_attn.out_proj.",
}
"""open_clip's names, and those of transformers."""


@dataclass(frozen=True, eq=False)
class ClipStates:
    """States before the last layer, on the CPU.

    faces: [F, T, K] of F aligned faces. absent: [1, T, K] of normalised pixels that are all zero.
    """

    faces: Tensor
    absent: Tensor


@dataclass(frozen=True, eq=False)
class ClipVision:
    """The image encoder without its last layer; frozen, in float32."""

    network: nn.Module

    @torch.no_grad()
    def states(self, faces: Sequence[Tensor]) -> ClipStates:
        """Of aligned faces [3, 224, 224] in 0..1; at least one."""
        # One by one: any number of faces takes the memory of one.
        return ClipStates(
            torch.cat([self._states(_normalised(face)[None]) for face in faces]),
            self._states(torch.zeros(1, 3, FACE_SIZE, FACE_SIZE)),
        )

    def _states(self, pixels: Tensor) -> Tensor:
        device = next(self.network.parameters()).device
        return self.network(pixel_values=pixels.to(device)).last_hidden_state.cpu()


def load_clip_vision(path: str | Path, width: int) -> ClipVision:
    """An image encoder from a file in the naming of transformers or open_clip.

    Args:
        width: Numbers in a state that the adapter reads: 1280, which is ViT-H/14.

    Raises:
        ModelFileError: The file is missing or damaged, lacks weights, or is no CLIP vision.
        IncompatibleError: It is another CLIP (ViT-L, ViT-bigG), or reads images of another size.
    """
    path = Path(path)
    if not path.is_file():
        raise _no_file("the file of CLIP vision is missing", path)
    with refuse_with(_no_file("the file holds no CLIP vision model of known shapes", path)):
        tensors = dict(_own_names(read_tensors(path)[0]))
        return _encoder(tensors, width, path)


def _encoder(tensors: Mapping[str, Tensor], width: int, path: Path) -> ClipVision:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    sizes = _sizes(tensors, path)
    if sizes["hidden_size"] != width:
        raise _other_clip(sizes["hidden_size"], width, path)
    if sizes["image_size"] != FACE_SIZE:
        raise IncompatibleError(
            f"this CLIP vision reads images of {sizes['image_size']} px instead of {FACE_SIZE}",
            where=str(path),
            fix=f"Use {_WANTED.where_to_get}",
        )
    config = CLIPVisionConfig(
        **sizes, num_attention_heads=max(1, width // HEAD_WIDTH), hidden_act="gelu"
    )
    with torch.device("meta"):  # drawing random weights would take longer than reading the file
        network: Any = CLIPVisionModelWithProjection(config).vision_model
    own = network.state_dict()
    # The final norm follows the last layer, and is not read here either.
    own = {name: tensor for name, tensor in own.items() if not name.startswith("post_layernorm.")}
    lacking = [n for n, t in own.items() if n not in tensors or tensors[n].shape != t.shape]
    if lacking:
        raise _no_file(
            f"{len(lacking)} weights of CLIP vision are missing or of another shape, the first is "
            f"{lacking[0]}",
            path,
        )
    network.post_layernorm = nn.Identity()
    network.load_state_dict(as_float32({name: tensors[name] for name in own}), assign=True)
    places = network.embeddings
    numbers = torch.arange(places.position_embedding.num_embeddings)[None]
    places.register_buffer("position_ids", numbers, persistent=False)
    return ClipVision(network.eval().requires_grad_(False))


def _normalised(face: Tensor) -> Tensor:
    """Pixels rounded to 8 bits, as ComfyUI does, then normalised."""
    rounded = (255 * face).clamp(0, 255).round() / 255
    return (rounded - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _own_names(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The vision model's tensors, under the names of transformers without their prefix."""
    if f"{_OPEN_CLIP}class_embedding" not in tensors:
        for name, tensor in tensors.items():
            if name.startswith(_PREFIX):
                yield name.removeprefix(_PREFIX), tensor
        return
    for name, tensor in tensors.items():
        if name.startswith(_OPEN_CLIP):
            yield from _of_open_clip(name.removeprefix(_OPEN_CLIP), tensor)


def _of_open_clip(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    for theirs, ours in _RENAMED.items():
        if name.startswith(theirs):
            name = name.replace(theirs, ours, 1)
    for theirs, ours in _RENAMED_IN_LAYERS.items():
        name = name.replace(theirs, ours)
    layer, together, kind = name.partition(".attn.in_proj_")
    if not together:
        yield name, tensor
        return
    for projection, part in zip("qkv", tensor.chunk(3), strict=True):
        yield f"{layer}.self_attn.{projection}_proj.{kind}", part


def _sizes(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Arguments of the configuration, with one layer less than the file has."""
    layers = [(int(m[1]), t) for n, t in tensors.items() if (m := _LAYER.fullmatch(n))]
    patches, places = tensors.get(_PATCHES), tensors.get(_PLACES)
    clip = "embeddings.class_embedding" in tensors  # SigLIP has none
    if not clip or not layers or patches is None or places is None or patches.ndim != 4:
        raise _no_file("the file holds no CLIP vision model", path)
    side = round((len(places) - 1) ** 0.5) * patches.shape[-1]
    return {
        "hidden_size": patches.shape[0],
        "intermediate_size": layers[0][1].shape[0],
        "num_hidden_layers": max(number for number, _ in layers),
        "image_size": side,
        "patch_size": patches.shape[-1],
    }


def _no_file(what: str, path: Path) -> ModelFileError:
    return ModelFileError(what, where=str(path), fix=f"Use {_WANTED.where_to_get}")


def _other_clip(have: int, wanted: int, path: Path) -> IncompatibleError:
    name = _NAMES.get(have, "another CLIP")
    return IncompatibleError(
        f"this CLIP vision is {name}, whose states have {have} numbers instead of {wanted}",
        where=str(path),
        fix=f"Use {_WANTED.where_to_get}",
    )
