"""Settings of a trainer from a YAML file and options."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ...errors import InputError, ModelFileError
from ...readers.files import read_text
from .config import TrainerConfig, kind_of, option_of

Config = TypeVar("Config", bound=TrainerConfig)
_NOTHING = ("", "~", "null", "Null", "NULL")
_BOOLS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def read_config(
    config: type[Config], path: Path | None, given: Mapping[str, Any], trainer: str
) -> Config:
    """A trainer's settings.

    Args:
        path: YAML, keys as the fields, ``-`` or ``_`` in names; relative paths in it count from
            the current folder, as in options, and ``~`` is the home folder. None for no file.
        given: Values that take precedence over those of the file.
        trainer: For error messages.

    Raises:
        InputError: A key is unknown (the nearest one is named), there twice or missing, or a value
            is missing or cannot be used.
        ModelFileError: The file cannot be read.
    """
    values = {} if path is None else _from_file(config, path)
    values |= given
    missing = [
        each.name
        for each in dataclasses.fields(config)
        if each.default is dataclasses.MISSING and values.get(each.name) is None
    ]
    if missing:
        raise InputError(
            f"train {trainer} needs {', '.join(missing)}",
            where="" if path is None else str(path),
            fix=f"Give {option_of(missing[0])}, or {missing[0]}: in --config",
        )
    return config(**{name: _at_home(name, value) for name, value in values.items()})


def _at_home(name: str, value: Any) -> Any:
    """A path with its ``~`` replaced, which no shell does in a file; other values as they are."""
    if not isinstance(value, Path):
        return value
    try:
        return value.expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{option_of(name)} is in a home folder that is not known",
            where=str(value),
            fix="Give the whole path",
        ) from error


def _from_file(config: type[TrainerConfig], path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = read_text(path)
        # Values as they are written: YAML itself reads 010 as 8 and 1:30 as 90.
        lines, read = (of(text, yaml.BaseLoader) for of in (yaml.compose, yaml.load))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise ModelFileError(
            f"the settings cannot be read: {reason}", where=str(path), fix="Give a YAML file"
        ) from error
    if not isinstance(read, dict):
        raise InputError(
            "the file holds no settings", where=str(path), fix="Write a line such as steps: 20000"
        )
    _require_once([str(key.value).replace("-", "_") for key, _ in lines.value], path)
    names = [each.name for each in dataclasses.fields(config)]
    values: dict[str, Any] = {}
    for written, value in read.items():
        name = str(written).replace("-", "_")
        if name not in names:
            raise InputError(
                f"there is no key {written}", where=str(path), fix=nearest(name, names)
            )
        values[name] = _value(config, name, value, path)
    return values


def _require_once(names: Sequence[str], path: Path) -> None:
    """YAML takes the last one of several, without a word."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"{name} is there {names.count(name)} times",
                where=str(path),
                fix="Leave one of these lines",
            )


def nearest(name: str, names: Sequence[str]) -> str:
    """What to do about a name that is not among ``names``."""
    close = difflib.get_close_matches(name, names, 1)
    return f"Did you mean {close[0]}?" if close else f"Keys are {', '.join(names)}"


def _value(config: type[TrainerConfig], name: str, value: Any, path: Path) -> Any:
    """A value of the file, a text, in the key's type."""
    kind = kind_of(config, name)
    if value in _NOTHING:
        return _without_value(config, name, path)
    words = {bool: "neither true nor false", int: "no whole number", float: "no number"}
    try:
        if not isinstance(value, str) or "\0" in value:
            raise ValueError
        return _BOOLS[value.lower()] if kind is bool else kind(value)
    except (ValueError, KeyError) as error:
        raise InputError(
            f"{name} is {value}, which is {words.get(kind, 'no text')}", where=str(path)
        ) from error


def _without_value(config: type[TrainerConfig], name: str, path: Path) -> Any:
    """What a key means that has nothing behind its colon: as if it was left out, if it may be."""
    default = next(each.default for each in dataclasses.fields(config) if each.name == name)
    if default is dataclasses.MISSING:
        return None
    if default in (None, ""):
        return default
    raise InputError(
        f"{name} has no value",
        where=str(path),
        fix="Write one behind the colon, or remove the line",
    )
