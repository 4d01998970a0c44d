"""IP-Adapter-FaceID of Stable Diffusion 1.5 as the identity half of an SFSR adapter.

Published as h94/IP-Adapter-FaceID: an MLP turns a vector of InsightFace's buffalo_l into four
tokens, and each of the 16 cross-attentions has keys and values for them (IP-Adapter, arXiv
2308.06721). Some files include a LoRA of rank 128 for all 32 attention layers, which must be
applied.

Names and shapes come from public descriptions of the files and were not compared with a real file;
each is checked, and any difference is reported by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import IncompatibleError, ModelFileError
from .compound_inputs import CompoundLayout, IdentityBatch
from .token_attention import IDENTITY, TokenAttention

ENCODER = "insightface/buffalo_l"
TOKENS, WIDTH, HIDDEN, VECTOR = 4, 768, 1024, 512
_WIDTHS = {"input_blocks": (320, 640, 1280), "output_blocks": (1280, 640, 320)}
LAYERS: dict[str, int] = {
    **{f"input_blocks.{n}": _WIDTHS["input_blocks"][n // 3] for n in (1, 2, 4, 5, 7, 8)},
    **{f"output_blocks.{n}": _WIDTHS["output_blocks"][n // 3 - 1] for n in range(3, 12)},
    "middle_block": 1280,
}
"""Block -> width in the order of the file: down, up, middle."""
_PROJECTIONS = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"}
_WHERE = "IP-Adapter-FaceID"


class FaceIDEmbedding(nn.Module):
    """A vector of one encoder -> tokens, as in the published adapter.

    Unlike a compound embedding its layer norm has weights, and it takes part in both halves of the
    guidance: the unconditional half gets the tokens of a zero vector.
    """

    def __init__(self, layout: CompoundLayout) -> None:
        super().__init__()
        self.layout = layout
        size = layout.identities[layout.required]
        self.proj = nn.Sequential(
            nn.Linear(size, layout.hidden),
            nn.GELU(),
            nn.Linear(layout.hidden, layout.tokens * layout.width),
        )
        self.norm = nn.LayerNorm(layout.width)

    def identity(self, who: IdentityBatch) -> Tensor:
        """Identity tokens [B, n, W]."""
        return self._tokens(who.vectors[self.layout.required])

    def absent(self) -> Tensor:
        """Tokens [1, n, W] of a zero vector, for the unconditional half."""
        size = self.layout.identities[self.layout.required]
        return self._tokens(torch.zeros(1, size).to(self.norm.weight))

    def _tokens(self, vectors: Tensor) -> Tensor:
        flat = self.proj(vectors.to(self.norm.weight))
        return self.norm(flat.unflatten(1, (self.layout.tokens, self.layout.width)))


class FaceIDAdapter(nn.Module):
    """An SFSR adapter with an identity source only: no expression, no background hint.

    Args:
        layout: One encoder.
        layers: Cross-attention -> width, as in :class:`~.adapter.SFSRAdapter`.
    """

    hint = None

    def __init__(self, layout: CompoundLayout, layers: Mapping[str, int]) -> None:
        super().__init__()
        self.layout = layout
        self.layers = dict(layers)
        self.embedding = FaceIDEmbedding(layout)
        self.attention = TokenAttention(layers, layout.width, (IDENTITY,))


@dataclass(frozen=True, eq=False)
class FaceIDFile:
    """The adapter, and the LoRA that was trained with it.

    lora: Projection in the LDM layout (``input_blocks.1.1.transformer_blocks.0.attn1.to_q``) ->
        (down [r, in], up [out, r]); empty if the file has none.
    """

    adapter: FaceIDAdapter
    lora: Mapping[str, tuple[Tensor, Tensor]]


def convert_faceid(tensors: Mapping[str, Tensor], where: str = _WHERE) -> FaceIDFile:
    """Convert the tensors of an SD1.5 FaceID file, named like ``image_proj.norm.weight``.

    Raises:
        IncompatibleError: It is another kind of IP-Adapter: SDXL, Plus, Portrait, or not for faces.
        ModelFileError: A weight is missing, unknown or of another shape.
    """
    _require_kind(tensors, where)
    expected = _expected()
    with_lora = any("_lora." in name for name in tensors)
    required = expected | (_expected_lora(_rank(tensors)) if with_lora else {})
    for name, shape in required.items():
        if name not in tensors:
            raise _differs(f"lacks {name}", where)
        if tuple(tensors[name].shape) != shape:
            have = list(tensors[name].shape)
            raise _differs(f"has {name} of shape {have} instead of {list(shape)}", where)
    extra = next((name for name in tensors if name not in required), None)
    if extra is not None:
        raise _differs(f"contains the unknown weight {extra}", where)
    with torch.device("meta"):
        layout = CompoundLayout({ENCODER: VECTOR}, tokens=TOKENS, width=WIDTH, hidden=HIDDEN)
        adapter = FaceIDAdapter(layout, LAYERS)
    state = {_own_name(name): tensors[name].float() for name in expected}
    adapter.load_state_dict(state, assign=True)
    lora = {}
    for number, name in enumerate(_attention_names()) if with_lora else ():
        for theirs, ours in _PROJECTIONS.items():
            down, up = (
                tensors[f"ip_adapter.{number}.{theirs}_lora.{side}.weight"]
                for side in ("down", "up")
            )
            lora[f"{name}.{ours}"] = down, up
    return FaceIDFile(adapter.eval().requires_grad_(False), lora)


def _require_kind(tensors: Mapping[str, Tensor], where: str) -> None:
    keys = tensors.get("ip_adapter.1.to_k_ip.weight")
    last = tensors.get("image_proj.proj.2.weight")
    first = tensors.get("image_proj.proj.0.weight")
    if keys is None:
        raise ModelFileError(
            "the file is not an IP-Adapter", where=where, fix="Choose an IP-Adapter-FaceID file"
        )
    kind = ""
    if keys.ndim == 2 and keys.shape[1] == 2048:
        kind = "of SDXL, this pack works with Stable Diffusion 1.5"
    elif any("perceiver_resampler" in name or name == "image_proj.latents" for name in tensors):
        kind = "of the Plus kind, which reads images beside the face's vector"
    elif first is None or last is None or first.ndim != 2 or first.shape[1] != VECTOR:
        kind = "not of the FaceID kind: it reads images instead of a face's vector"
    elif last.shape[0] > TOKENS * WIDTH:
        kind = "of the Portrait kind, which reads several images at once"
    if kind:
        raise IncompatibleError(
            f"this IP-Adapter is {kind}", where=where, fix="Use ip-adapter-faceid_sd15"
        )


def _expected() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the adapter, without LoRA."""
    shapes: dict[str, tuple[int, ...]] = {
        "image_proj.proj.0.weight": (HIDDEN, VECTOR),
        "image_proj.proj.0.bias": (HIDDEN,),
        "image_proj.proj.2.weight": (TOKENS * WIDTH, HIDDEN),
        "image_proj.proj.2.bias": (TOKENS * WIDTH,),
        "image_proj.norm.weight": (WIDTH,),
        "image_proj.norm.bias": (WIDTH,),
    }
    for i, width in enumerate(LAYERS.values()):
        for side in ("k", "v"):
            shapes[f"ip_adapter.{2 * i + 1}.to_{side}_ip.weight"] = (width, WIDTH)
    return shapes


def _expected_lora(rank: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for number, width in enumerate(w for w in LAYERS.values() for _ in range(2)):
        for name in _PROJECTIONS:
            reads_text = number % 2 == 1 and name in ("to_k", "to_v")
            key = f"ip_adapter.{number}.{name}_lora"
            shapes[f"{key}.down.weight"] = (rank, WIDTH if reads_text else width)
            shapes[f"{key}.up.weight"] = (width, rank)
    return shapes


def _rank(tensors: Mapping[str, Tensor]) -> int:
    first = tensors.get("ip_adapter.0.to_q_lora.down.weight")
    return 0 if first is None or first.ndim != 2 else first.shape[0]


def _attention_names() -> list[str]:
    """Attention layers in the order of the file."""
    return [f"{layer}.1.transformer_blocks.0.attn{n}" for layer in LAYERS for n in (1, 2)]


def _own_name(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "image_proj":
        return f"embedding.{rest}"
    number, projection, _ = rest.split(".")
    layer = list(LAYERS)[int(number) // 2].replace(".", "_")
    return f"attention.projections.{layer}.{IDENTITY}.{projection.removesuffix('_ip')}.weight"


def _differs(what: str, where: str) -> ModelFileError:
    return ModelFileError(
        f"the FaceID file {what}", where=where, fix="Download ip-adapter-faceid_sd15 again"
    )
