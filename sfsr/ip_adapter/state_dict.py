"""One spelling for what files call their weights; nested tables and dotted names alike.

Own names: ``image_proj.<weight>``, ``ip_adapter.<number>.<weight>``, ``au_encoder.<weight>`` and
``<diffusers transformer>.transformer_blocks.0.attn2.processor.<weight>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from ...errors import ModelFileError

_RENAMED = (
    ("state_dict.", ""),
    ("module.", ""),
    ("attn_processors.", ""),
    ("unet.", ""),
    ("adapter_modules.", "ip_adapter."),
    ("image_proj_model.", "image_proj."),
    ("au_encoder.au_encoder.", "au_encoder."),
)
"""Beginnings of names: wrappers of training scripts, and the spelling of community files."""
_DEEPEST = 4
_SHOWN = 3


def flat_state_dict(found: Any, where: str) -> dict[str, Tensor]:
    """The tensors of a file under their own names; what is no tensor is passed over.

    Args:
        found: What a reader returned: tables of tensors, nested or with dotted names.
        where: The file's name, for messages.

    Raises:
        ModelFileError: Two entries mean the same weight.
    """
    flat: dict[str, Tensor] = {}
    doubled: list[str] = []
    for name, tensor in _walk(found, "", 0):
        own = _own_name(name)
        if own in flat:
            doubled.append(own)
        flat[own] = tensor.detach()  # training scripts save parameters, too
    if doubled:
        raise ModelFileError(
            f"the file holds {listed(doubled)} twice",
            where=where,
            fix="Download it again from its authors",
        )
    return flat


def merged(parts: Iterable[Mapping[str, Tensor]], where: str) -> dict[str, Tensor]:
    """Several files' tensors together (FineFace comes as two).

    Raises:
        ModelFileError: They hold the same weight.
    """
    together: dict[str, Tensor] = {}
    doubled: list[str] = []
    for part in parts:
        doubled += [name for name in part if name in together]
        together |= part
    if doubled:
        raise ModelFileError(
            f"both files hold {listed(doubled)}",
            where=where,
            fix="Choose the two files that belong together, each once",
        )
    return together


def listed(names: Iterable[str]) -> str:
    """Names for a sentence: all of a few, else the first three and how many more."""
    every = list(names)
    more = len(every) - _SHOWN
    return ", ".join(every[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _walk(found: Any, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(found, Tensor):
        yield prefix, found
    elif isinstance(found, Mapping) and depth < _DEEPEST:
        for name, inner in found.items():
            if isinstance(name, str | int):
                yield from _walk(inner, f"{prefix}.{name}" if prefix else str(name), depth + 1)


def _own_name(name: str) -> str:
    for theirs, ours in _RENAMED:
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
    return name
