"""Every name and shape that a layout demands, and what a file has instead.

Source: docs/reference/published_weights.md A6 (Arc2Face), C2, C4 (FaceID, Plus, Portrait), D7
(FineFace).
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from ...errors import IncompatibleError, ModelFileError
from .layout import RESAMPLER, AnyLayout, ExpressionLayout, FlameLayout, IdentityLayout
from .places import Target, attention_place, diffusers_attention
from .refuse import WORKS
from .state_dict import listed

Shapes = dict[str, tuple[int, ...]]

LORA_NAMES = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0"}
"""A projection in the files' LoRA names, and in the UNet's."""
_IGNORED = (".processor.to_k_ip.weight", ".processor.to_v_ip.weight")
"""In FineFace's file perhaps: of an IP-Adapter that it was trained beside, loaded on its own."""


def expected_shapes(layout: AnyLayout) -> Shapes:
    """Name to shape of all weights that a file of this layout has."""
    if isinstance(layout, ExpressionLayout):
        return _units(layout)
    if isinstance(layout, FlameLayout):
        return _flame(layout) | _keys_values(layout.target)
    shapes = _projection(layout) | _keys_values(layout.target)
    if layout.clip_width:
        shapes |= _perceiver(layout)
    if layout.rank:
        shapes |= _lora(layout)
    return shapes


def check_layout(tensors: Mapping[str, Tensor], layout: AnyLayout, where: str = "") -> None:
    """Check that a file has exactly the weights of its layout.

    Raises:
        ModelFileError: Weights are missing or unknown, or hold no floating point numbers.
        IncompatibleError: Weights have other shapes.
    """
    wanted = expected_shapes(layout)
    title = layout.kind.title
    missing = [name for name in wanted if name not in tensors]
    extra = [name for name in tensors if name not in wanted and not name.endswith(_IGNORED)]
    for verb, adjective, names in (("lacks", "", missing), ("holds", "unknown ", extra)):
        if names:
            count = f"{len(names)} {adjective}weight{'s' * (len(names) > 1)}"
            raise ModelFileError(
                f"the {title} file {verb} {count}: {listed(names)}",
                where=where,
                fix="Download it again from its authors",
            )
    wrong = [
        f"{name} of shape {list(tensors[name].shape)} instead of {list(shape)}"
        for name, shape in wanted.items()
        if tuple(tensors[name].shape) != shape
    ]
    if wrong:
        raise IncompatibleError(f"the {title} file has {listed(wrong)}", where=where, fix=WORKS)
    numbers = [name for name in wanted if not tensors[name].is_floating_point()]
    if numbers:
        raise ModelFileError(
            f"the {title} file holds no floating point numbers in {listed(numbers)}",
            where=where,
            fix="Use the file as its authors published it",
        )


def _flame(layout: FlameLayout) -> Shapes:
    if layout.hidden:
        return _projection(layout)
    out = layout.tokens * layout.width
    return {
        "image_proj.proj.weight": (out, layout.vector),
        "image_proj.proj.bias": (out,),
        **_norm("image_proj.norm", layout.width),
    }


def _projection(layout: IdentityLayout | FlameLayout) -> Shapes:
    out = layout.tokens * layout.width
    return {
        "image_proj.proj.0.weight": (layout.hidden, layout.vector),
        "image_proj.proj.0.bias": (layout.hidden,),
        "image_proj.proj.2.weight": (out, layout.hidden),
        "image_proj.proj.2.bias": (out,),
        **_norm("image_proj.norm", layout.width),
    }


def _keys_values(target: Target) -> Shapes:
    return {
        f"ip_adapter.{2 * i + 1}.to_{side}_ip.weight": (width, target.width)
        for i, width in enumerate(target.layers.values())
        for side in "kv"
    }


def _perceiver(layout: IdentityLayout) -> Shapes:
    width = layout.width
    shapes: Shapes = {
        f"{RESAMPLER}proj_in.weight": (width, layout.clip_width),
        f"{RESAMPLER}proj_in.bias": (width,),
        f"{RESAMPLER}proj_out.weight": (width, width),
        f"{RESAMPLER}proj_out.bias": (width,),
        **_norm(f"{RESAMPLER}norm_out", width),
    }
    for i in range(layout.depth):
        attention, forward = f"{RESAMPLER}layers.{i}.0", f"{RESAMPLER}layers.{i}.1"
        shapes |= _norm(f"{attention}.norm1", width) | _norm(f"{attention}.norm2", width)
        shapes[f"{attention}.to_q.weight"] = (width, width)
        shapes[f"{attention}.to_kv.weight"] = (2 * width, width)
        shapes[f"{attention}.to_out.weight"] = (width, width)
        shapes |= _norm(f"{forward}.0", width)
        shapes[f"{forward}.1.weight"] = (layout.inner, width)
        shapes[f"{forward}.3.weight"] = (width, layout.inner)
    return shapes


def _lora(layout: IdentityLayout) -> Shapes:
    target, rank = layout.target, layout.rank
    shapes: Shapes = {}
    for number in range(target.attentions):
        width = target.attention_width(number)
        for name in LORA_NAMES:
            reads_text = number % 2 == 1 and name in ("to_k", "to_v")
            key = f"ip_adapter.{number}.{name}_lora"
            shapes[f"{key}.down.weight"] = (rank, target.width if reads_text else width)
            shapes[f"{key}.up.weight"] = (width, rank)
    return shapes


def _units(layout: ExpressionLayout) -> Shapes:
    target, units = layout.target, layout.units
    hidden = target.width - units
    shapes: Shapes = {"au_encoder.weight": (hidden, units), "au_encoder.bias": (hidden,)}
    for number in range(1, target.attentions, 2):
        for side in "kv":
            name = unit_weight(number, side, target)
            shapes[name] = (target.attention_width(number), target.width)
    return shapes


def unit_weight(number: int, side: str, target: Target) -> str:
    """FineFace's name for the matrix of one cross-attention; ``side`` is k or v."""
    attention = diffusers_attention(f"{attention_place(number, target)}.processor")
    return f"{attention}.au_to_{side}.weight"


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
