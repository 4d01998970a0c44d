"""What reaches a node through links, checked as the host checks what is typed into a widget.

The host validates widgets only; a link may carry any number, a mask without pixels or a latent full
of NaN. Every node of the pack is wrapped once (``nodes/__init__.py``), so that no node repeats
these checks.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from numbers import Real
from typing import Any

from comfy_api.latest import io

from ..errors import InputError

_SLACK = 1e-6
"""Part of a range by which a computed number may miss it."""
_FREE = {"word"}
"""Choices whose nodes take more than their options: other spellings, near words."""
Check = Callable[[Any, Any, str], Any]
"""(input of the schema, value, name of the node) -> the value to use; raises InputError."""


def checked(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The node, whose ``execute`` now raises InputError for values that its schema excludes.

    Numbers have to be finite and within their limits, choices among the options (those of loaders
    are files, which the loaders themselves look for), masks, latents and sigmas of the host's
    shape and not empty, latents and sigmas finite. Images are left to the nodes (``images.py``,
    ``faces.analyzers``): in some a bad one costs the others of its batch nothing.
    """
    run = node.__dict__["execute"].__func__
    signature = inspect.signature(run)
    rest = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD), None)
    known: dict[str, Callable[[Any], Any]] = {}
    needed: set[str] = set()

    @wraps(run)
    def execute(cls: type[io.ComfyNode], *args: Any, **kwargs: Any) -> io.NodeOutput:
        if not known:
            known.update(_checks(node))
            needed.update(_needed(node))
        bound = signature.bind(cls, *args, **kwargs)
        for values in (bound.arguments, bound.arguments.get(rest or "", {})):
            for name, value in values.items():
                if name not in known:
                    continue
                if isinstance(value, list) and node.GET_SCHEMA().is_input_list:
                    values[name] = [known[name](each) for each in value]
                elif value is not None or name in needed:
                    values[name] = known[name](value)
        return run(*bound.args, **bound.kwargs)

    node.execute = classmethod(execute)
    return node


def _checks(node: type[io.ComfyNode]) -> Mapping[str, Callable[[Any], Any]]:
    """Name of an input -> its check, by the type of its socket."""
    schema = node.define_schema()
    loads = "fingerprint_inputs" in node.__dict__
    found: dict[str, Callable[[Any], Any]] = {}
    for each in schema.inputs:
        check = _BY_TYPE.get(each.io_type)
        if each.io_type == "COMBO" and (loads or each.id in _FREE):
            check = _text
        if check is not None:
            found[each.id] = _bound(check, each, schema.display_name or schema.node_id)
    return found


def _needed(node: type[io.ComfyNode]) -> set[str]:
    """Choices that have to be made: a script may send null, which the host does not refuse."""
    inputs = node.define_schema().inputs
    return {each.id for each in inputs if each.io_type == "COMBO" and not each.optional}


def _name(item: Any) -> str:
    """As the node shows it, in quotes if it has several words."""
    name = item.display_name or item.id
    return f"'{name}'" if " " in name else name


def _bound(check: Check, item: Any, where: str) -> Callable[[Any], Any]:
    return lambda value: check(item, value, where)


def _number(item: Any, value: Any, where: str) -> Any:
    low, high, whole = item.min, item.max, item.io_type == "INT"
    if isinstance(value, Real):
        number: Any = value
        if low <= number <= high and (not whole or float(number).is_integer()):
            return int(number) if whole else number
        end = low if number < low else high
        if abs(number - end) <= _SLACK * (high - low) and not whole:
            return end
    raise InputError(
        f"{_name(item)} is {value}",
        where=where,
        fix=f"Give a {'whole ' if whole else ''}number from {low:g} to {high:g}",
    )


def _option(item: Any, value: Any, where: str) -> Any:
    if value in item.options:
        return value
    listed = ", ".join(map(str, item.options[:8])) + (", ..." if len(item.options) > 8 else "")
    raise InputError(f"{_name(item)} is {value!r}", where=where, fix=f"Choose one of: {listed}")


def _text(item: Any, value: Any, where: str) -> Any:
    if isinstance(value, str):
        return value
    raise InputError(f"{_name(item)} is {value!r}", where=where, fix="Choose one of the list")


def _mask(item: Any, value: Any, where: str) -> Any:
    shape = tuple(getattr(value, "shape", ()))
    if len(shape) not in (2, 3, 4) or not value.is_floating_point():
        raise _shapeless(item, "a mask [batch, height, width]", shape, where)
    return _filled(item, value, "a mask", where)  # its values: ``images.checked_mask``


def _latent(item: Any, value: Any, where: str) -> Any:
    samples = value.get("samples") if isinstance(value, Mapping) else None
    shape = tuple(getattr(samples, "shape", ()))
    if samples is None or len(shape) != 4:
        raise _shapeless(item, "a latent image [batch, 4, height, width]", shape, where)
    _filled(item, samples, "a latent image", where)
    return _finite(item, value, samples, where)


def _sigmas(item: Any, value: Any, where: str) -> Any:
    shape = tuple(getattr(value, "shape", ()))
    if len(shape) != 1:
        raise _shapeless(item, "a row of sigmas", shape, where)
    return _finite(item, value, value, where)


def _shapeless(item: Any, what: str, shape: tuple[int, ...], where: str) -> InputError:
    have = f"has the shape {list(shape)}" if shape else "is something else"
    return InputError(f"{_name(item)} {have}", where=where, fix=f"Connect {what}")


def _filled(item: Any, tensor: Any, what: str, where: str) -> Any:
    if tensor.numel() == 0:
        raise InputError(f"{_name(item)} is empty", where=where, fix=f"Connect {what}")
    return tensor


def _finite(item: Any, value: Any, tensor: Any, where: str) -> Any:
    if not bool(tensor.isfinite().all()):
        raise InputError(
            f"{_name(item)} holds values that are not numbers",
            where=where,
            fix="Check the node before: a model that overflows in fp16 gives such values",
        )
    return value


_BY_TYPE: Mapping[str, Check] = {
    "INT": _number,
    "FLOAT": _number,
    "COMBO": _option,
    "MASK": _mask,
    "LATENT": _latent,
    "SIGMAS": _sigmas,
}
