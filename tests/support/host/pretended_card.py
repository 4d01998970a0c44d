"""A GPU that is none: tensors that say they are on ``cuda:0``, with their values in CPU memory.

Whatever the host and the pack do runs with real numbers, branches on them and its memory
management included; but an operation on tensors of both devices fails as it does on a real card,
and so does one on tensors of the card and of the CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

CARD = torch.device("cuda:0")
PLENTY = 2**40

_MOVES = {
    "to",
    "cpu",
    "copy_",
    "type_as",
    "__get__",
    "__set__",
    "_has_compatible_shallow_copy_type",
}
"""Functions that take tensors of two devices."""
_COPIES = {"to", "cpu", "type_as"}
_INDEXING = {"__getitem__", "__setitem__"}
"""Indices of the CPU select from tensors of the card."""


class CardTensor(Tensor):
    """A tensor on the pretended card."""


class PretendedCard(TorchFunctionMode):
    """Runs every function of torch on the CPU, and keeps account of where its tensors are."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        attribute = getattr(getattr(func, "__self__", None), "__name__", "")
        on_card = bool(args) and isinstance(args[0], CardTensor)
        if name == "__get__" and on_card and attribute in _ATTRIBUTES:
            return _ATTRIBUTES[attribute]
        if name == "_parse_to":  # arguments of Module.to, to be read only
            return func(*args, **kwargs)
        tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
        _require_one_device(func, name, args, tensors)
        target = _target(name, args, kwargs)
        if target is None:
            target = "cuda" if any(isinstance(each, CardTensor) for each in tensors) else "cpu"
        plain = {id(each): each.as_subclass(Tensor) for each in tensors if type(each) is CardTensor}
        given = {id(same): each for each in tensors if (same := plain.get(id(each))) is not None}

        def here(value: Any) -> Any:
            if isinstance(value, Tensor):
                return plain.get(id(value), value)
            return "cpu" if _is_card(value) else value

        found = func(*tree_map(here, args), **tree_map(here, kwargs))
        if name in _COPIES and target != ("cuda" if on_card else "cpu"):
            return found.clone().as_subclass(CardTensor if target == "cuda" else Tensor)

        def placed(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if id(value) in given:  # in place: the same tensor goes back
                return given[id(value)]
            return value.as_subclass(CardTensor) if target == "cuda" else value

        return tree_map(placed, found)


_ATTRIBUTES = {"device": CARD, "is_cuda": True, "is_cpu": False}


def _is_card(value: Any) -> bool:
    return (isinstance(value, torch.device) and value.type == "cuda") or (
        isinstance(value, str) and value.startswith("cuda")
    )


def _target(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """The device that a call names; None if it follows its tensors."""
    if name in ("cpu", "numpy"):
        return "cpu"
    if name in ("to", "type_as") and len(args) > 1 and isinstance(args[1], Tensor):
        return "cuda" if isinstance(args[1], CardTensor) else "cpu"
    if args and (name == "copy_" or name in _INDEXING):
        return "cuda" if isinstance(args[0], CardTensor) else "cpu"
    positional = args[1:2] if name == "to" else args
    for value in (kwargs.get("device"), *positional):
        if isinstance(value, torch.device) or (name == "to" and isinstance(value, str)):
            return "cuda" if _is_card(value) else "cpu"
    return None


def _require_one_device(func: Any, name: str, args: tuple[Any, ...], tensors: list[Tensor]) -> None:
    """As on a real card, only numbers (tensors without dimensions) may come from the CPU."""
    if name in _MOVES:
        return
    if name in _INDEXING:
        tensors = tensors if isinstance(args[0], Tensor) and type(args[0]) is Tensor else []
    kinds = {
        isinstance(each, CardTensor) for each in tensors if each.ndim or type(each) is CardTensor
    }
    if len(kinds) > 1:
        raise RuntimeError(f"{name or func}: tensors on two devices, cuda:0 and cpu")


@contextmanager
def pretended_card(free_bytes: int = PLENTY) -> Iterator[None]:
    """Let the host and everything else compute on the card while the block runs.

    Args:
        free_bytes: What the host believes to be free there; with little it leaves weights on the
            CPU and casts them in use.
    """
    import comfy.model_management as mm

    def free(_: Any = None, torch_free_too: bool = False) -> Any:
        return (free_bytes, free_bytes) if torch_free_too else free_bytes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mm, "get_torch_device", lambda: CARD)
        patch.setattr(mm, "get_free_memory", free)
        patch.setattr(mm, "vram_state", mm.VRAMState.NORMAL_VRAM)
        patch.setattr(mm, "lowvram_available", True)
        for name in ("synchronize", "current_device", "set_device"):
            patch.setattr(torch.cuda, name, lambda *_: 0)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        mm.unload_all_models()
        try:
            with PretendedCard():
                yield
                mm.unload_all_models()
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(False)
