"""What a file is, from its shapes alone; a file's name is never looked at.

The one thing shapes do not tell is Plus from Plus v2, which are the same layout: the caller says it
(``shortcut``). Source: docs/reference/published_weights.md A6, C2, C4, D7.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...errors import ModelFileError
from ...faces.flame import COUNT as FLAME_COUNT
from ...published_files import BY_KEY
from .kinds import ARC2FACE_EXPRESSION, FACEID, FINEFACE, PLUS, PLUS_V2, PORTRAIT, AdapterKind
from .places import SD15, SDXL, Target
from .refuse import WORKS, refuse_base, refuse_images, refuse_vector, unknown_file

PORTRAIT_TOKENS = 16
HEAD_WIDTH = 64
"""Of the perceiver; its number of heads is the text's width / 64."""
RESAMPLER = "image_proj.perceiver_resampler."
_LINEAR = "image_proj.proj.weight"
_FIRST, _LAST = "image_proj.proj.0.weight", "image_proj.proj.2.weight"
_LORA = "_lora."
_AU = ".processor.au_to_"


@dataclass(frozen=True)
class IdentityLayout:
    """An identity adapter in numbers.

    vector: Length of the face's vector; hidden: of the projection; tokens: for one image.
    rank: Of the LoRA; 0 without one.
    clip_width: Numbers in a CLIP vision state; 0 where none are read. depth, inner: Layers of the
        perceiver and the width of their feed-forward networks.
    """

    kind: AdapterKind
    target: Target
    vector: int
    hidden: int
    tokens: int
    rank: int = 0
    clip_width: int = 0
    depth: int = 0
    inner: int = 0

    @property
    def width(self) -> int:
        """Numbers in a token."""
        return self.target.width


@dataclass(frozen=True)
class ExpressionLayout:
    """An expression adapter in numbers: ``units`` intensities of a face's action units."""

    kind: AdapterKind
    target: Target
    units: int


@dataclass(frozen=True)
class FlameLayout:
    """An adapter of FLAME expressions in numbers.

    hidden: Width of the projection's hidden layer; 0 for a single linear layer. tokens: For one
        expression.
    """

    kind: AdapterKind
    target: Target
    hidden: int
    tokens: int
    vector: int = FLAME_COUNT

    @property
    def width(self) -> int:
        """Numbers in a token."""
        return self.target.width


AnyLayout = IdentityLayout | ExpressionLayout | FlameLayout


def recognise(
    tensors: Mapping[str, Tensor],
    *,
    target: Target | None = None,
    shortcut: bool = False,
    where: str = "",
) -> AnyLayout:
    """The layout of a file's tensors (``state_dict.flat_state_dict``); ``meta`` tensors will do.

    Names and shapes that decide nothing are not looked at here: ``expected.check_layout``.

    Args:
        target: What it has to fit; None: SDXL for an identity of its text width, else SD1.5.
        shortcut: Whether files of the Plus layout are v2.
        where: The file's name, for messages.

    Raises:
        IncompatibleError: It is for another base, reads neither a face's vector nor FLAME's
            numbers, or is a kind that this pack does not run.
        ModelFileError: It is no adapter, or lacks the weights that tell.
    """
    identity = [name for name in tensors if name.startswith(("image_proj.", "ip_adapter."))]
    expression = [name for name in tensors if _AU in name or _of_units(name)]
    if identity and expression:
        raise ModelFileError(
            "the file holds an IP-Adapter and FineFace at once", where=where, fix=WORKS
        )
    if expression:
        return _expression(tensors, expression, target or SD15, where)
    if not identity:
        raise unknown_file(tensors, where)
    width = _text_width(tensors, "ip_adapter.", "to_k_ip.weight")
    only_sd15 = _flame_hidden(tensors) is not None
    target = target or (SDXL if width == SDXL.width and not only_sd15 else SD15)
    refuse_base(width, target, "IP-Adapter", where)
    return _identity(tensors, target, shortcut, where)


def is_half(tensors: Mapping[str, Tensor]) -> bool:
    """Whether it is one of FineFace's two files without the other."""
    units = any(map(_of_units, tensors))
    return units != any(_AU in name for name in tensors)


def _identity(
    tensors: Mapping[str, Tensor], target: Target, shortcut: bool, where: str
) -> IdentityLayout | FlameLayout:
    if (flame_hidden := _flame_hidden(tensors)) is not None:
        last = _matrix(tensors, _LAST if flame_hidden else _LINEAR, where)
        tokens = _tokens(last, target, where)
        return FlameLayout(ARC2FACE_EXPRESSION, target, flame_hidden, tokens)
    refuse_images(tensors, where)
    first, last = (_matrix(tensors, name, where) for name in (_FIRST, _LAST))
    hidden, vector = first.shape
    refuse_vector(vector, target, where)
    tokens = _tokens(last, target, where)
    kind = PORTRAIT if tokens == PORTRAIT_TOKENS else FACEID
    clip_width = depth = inner = 0
    if any(name.startswith(RESAMPLER) for name in tensors):
        kind = PLUS_V2 if shortcut else PLUS
        clip_width = _matrix(tensors, f"{RESAMPLER}proj_in.weight", where).shape[1]
        depth = _depth(tensors)
        inner = _matrix(tensors, f"{RESAMPLER}layers.0.1.1.weight", where).shape[0]
    return IdentityLayout(
        kind, target, vector, hidden, tokens, _rank(tensors, where), clip_width, depth, inner
    )


def _flame_hidden(tensors: Mapping[str, Tensor]) -> int | None:
    """Width of the hidden layer, 0 without one; None where FLAME's numbers are not read."""
    hidden, first = 0, tensors.get(_LINEAR)
    if first is None:
        first = tensors.get(_FIRST)
        hidden = 0 if first is None else first.shape[0]
    # The published class has a hidden layer that is a multiple of its input.
    if first is None or first.ndim != 2 or first.shape[1] != FLAME_COUNT or hidden % FLAME_COUNT:
        return None
    return hidden


def _tokens(last: Tensor, target: Target, where: str) -> int:
    """How many a projection makes, by its last matrix."""
    tokens, rest = divmod(last.shape[0], target.width)
    if rest or not tokens:
        raise ModelFileError(
            f"the file's projection ends in {last.shape[0]} numbers, which are no tokens of "
            f"{target.width}",
            where=where,
            fix=WORKS,
        )
    return tokens


def _expression(
    tensors: Mapping[str, Tensor], names: list[str], target: Target, where: str
) -> ExpressionLayout:
    refuse_base(_text_width(tensors, "", "au_to_k.weight"), target, FINEFACE.title, where)
    if is_half(tensors):
        lacking = "attn_processors" if any(map(_of_units, names)) else "au_encoder"
        raise ModelFileError(
            f"this is one half of FineFace, {lacking} is missing",
            where=where,
            fix=f"Put sd15_{lacking}.ckpt beside it, under its published name: FineFace is "
            f"{BY_KEY['fineface'].where_to_get}",
        )
    return ExpressionLayout(FINEFACE, target, _matrix(tensors, "au_encoder.weight", where).shape[1])


def _of_units(name: str) -> bool:
    return name.startswith("au_encoder.")


def _text_width(tensors: Mapping[str, Tensor], start: str, end: str) -> int:
    """Of the first of these matrices; 0 without one."""
    for name, tensor in tensors.items():
        if name.startswith(start) and name.endswith(end) and tensor.ndim == 2:
            return tensor.shape[1]
    return 0


def _matrix(tensors: Mapping[str, Tensor], name: str, where: str) -> Tensor:
    found = tensors.get(name)
    if found is None or found.ndim != 2:
        trouble = "lacks the matrix" if found is None else "has no matrix in"
        raise ModelFileError(f"the file {trouble} {name}", where=where, fix="Download it again")
    return found


def _rank(tensors: Mapping[str, Tensor], where: str) -> int:
    """Of the LoRA, by the first of its matrices; all others have to agree (``expected``)."""
    if not any(_LORA in name for name in tensors):
        return 0
    return _matrix(tensors, "ip_adapter.0.to_q_lora.down.weight", where).shape[0]


def _depth(tensors: Mapping[str, Tensor]) -> int:
    start = f"{RESAMPLER}layers."
    return len({n.removeprefix(start).split(".")[0] for n in tensors if n.startswith(start)})
