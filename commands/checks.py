"""Checks of options, made before anything is loaded: ranges of numbers, and places to write to."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..errors import require_within as require_within

HIGHEST_SEED = 2**63 - 1
MOST_STEPS = 1000
MOST_PROCESSES = 1024
_NOT_READ = {"out", "folder", "resume", "images", "dataset", "cache"}
"""Options that name what is written or kept, and arguments with checks of their own."""


def require_sampling(args: argparse.Namespace) -> None:
    """Check the options of ``add_sampling_options``, and of strengths where there are any."""
    for name, low, high in (
        ("seed", 0, HIGHEST_SEED),
        ("scene_seed", 0, HIGHEST_SEED),
        ("steps", 1, MOST_STEPS),
        ("guidance", 0, 100),
        ("intensity", 0, 1.5),
        ("balance", -1, 1),
        ("size", 64, 4096),
        ("lora_strength", -10, 10),
        ("s_scale", 0, 5),
        ("control_strength", 0, 10),
    ):
        require_within(f"--{name.replace('_', '-')}", getattr(args, name, None), low, high)


def require_present(args: argparse.Namespace, *others: str, contents: Sequence[Path] = ()) -> None:
    """Raise InputError unless all files and folders to read are there; it names all that are not.

    Args:
        args: Every path in it counts, but those of :data:`_NOT_READ`.
        others: Names of further options that do not count, because they are checked elsewhere.
        contents: Files that are needed in the folders of options.
    """
    missing: list[str] = []
    for name, value in vars(args).items():
        if name in _NOT_READ or name in others:
            continue
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, Path) and not path.exists():
                missing.append(f"--{name.replace('_', '-')} {path}")
    missing += [str(path) for path in contents if not path.exists()]
    if missing:
        raise InputError(
            "a file or folder to read is missing"
            if len(missing) == 1
            else f"{len(missing)} files or folders to read are missing",
            where=", ".join(missing),
            fix="Correct what is given",
        )


def require_folder(option: str, path: Path) -> None:
    """Raise InputError unless a folder that can be written is there, or can be made there."""
    for place in (path, *path.parents):
        if place.is_dir():
            if os.access(place, os.W_OK | os.X_OK):
                return
            raise InputError(
                f"{option} cannot be written", where=str(place), fix="Name another place"
            )
        if place.exists() or place.is_symlink():
            raise InputError(
                f"{option} cannot be written: a file is where a folder is needed",
                where=str(place),
                fix="Name another place",
            )


def require_safetensors(option: str, path: Path) -> None:
    """Raise InputError unless weights can be written there, under a name that loaders list."""
    if path.suffix.lower() != ".safetensors":
        raise InputError(
            f"{option} is no name of a safetensors file",
            where=str(path),
            fix=f"Name it {path.name}.safetensors",
        )
    require_file(option, path)


def require_file(option: str, path: Path) -> None:
    """Raise InputError unless a file can be written there."""
    if path.is_dir():
        raise InputError(f"{option} is a folder", where=str(path), fix="Give a file name in it")
    require_folder(option, path.parent)
