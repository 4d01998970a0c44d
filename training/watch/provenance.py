"""Where a trained file comes from: metadata that say how to make it again."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch

from ... import __version__
from ...errors import FacePackError
from ...readers.files import read_text
from ...storage import file_sha256
from ..data.dataset import FaceDataset
from ..data.held_out import split
from ..settings.config import TrainerConfig
from .chart import HELD_OUT
from .curve import read_curve

_ROOT = Path(__file__).resolve().parents[2]
_LONGEST_NOTE = 200
_LICENCE_FILES = [name + end for name in ("LICENSE", "LICENCE") for end in ("", ".txt", ".md")]


def provenance() -> dict[str, str]:
    """Version, commit (where the pack is a checkout), date, and versions of Python and torch."""
    return {
        "version": __version__,
        "commit": _commit() or "unknown",
        "date": date.today().isoformat(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
    }


def result_metadata(config: TrainerConfig, trainer: str, base: Mapping[str, str]) -> dict[str, str]:
    """Metadata of a result, but for what its training brings (:func:`with_outcome`).

    Args:
        trainer: Its name in ``denseface train``. base: The base file's metadata.

    Raises:
        InputError: There is no data set. ModelFileError: The base cannot be read.
    """
    data = split(FaceDataset(config.dataset, config.size), config.held_out)
    people = [len({entry.subject for entry in part.entries}) for part in data]
    settings: dict[str, Any] = {
        each.name: value
        for each in dataclasses.fields(config)
        if not isinstance(value := getattr(config, each.name), Path)
    }
    about = {
        **config.about(trainer, base),
        "trainer": trainer,
        "base_sha256": file_sha256(config.base),
        "dataset": config.dataset.resolve().name,
        "dataset_sha256": data.trained.checksum,
        "images": str(len(data.trained)),
        "people": str(people[0]),
        "people_held_out": str(people[1]),
        "settings": json.dumps(settings),
        **provenance(),
    }
    licence = licence_of(config.dataset)
    return {**about, "dataset_licence": licence} if licence else about


def with_outcome(about: Mapping[str, str], folder: Path, step: int) -> dict[str, str]:
    """Metadata with the steps done, and with the last losses and the duration from the curve.

    Args:
        folder: The work folder.
    """
    points = read_curve(folder)
    last: dict[str, str] = {}
    for point in points:
        names = ("seconds", "loss", f"{HELD_OUT}loss")
        last |= {name: f"{point[name]:.6g}" for name in names if point.get(name) is not None}
        if point.get(f"{HELD_OUT}loss") is not None:  # which may be long before the last step
            last[f"{HELD_OUT}loss_step"] = str(point["step"])
    return {**about, "steps": str(step), **last}


def licence_of(folder: Path) -> str:
    """What a data set says of its licence: the key of its card, or a licence file's first line.

    Empty if it says nothing.
    """
    card = _text(folder / "README.md")
    if card.startswith("---"):
        for line in card.splitlines()[1:]:
            if line.strip() == "---":
                break
            name, _, value = line.partition(":")
            if name.strip() in ("license", "licence") and value.strip():
                return value.strip().strip("\"'")[:_LONGEST_NOTE]
    for name in _LICENCE_FILES:
        lines = [line.strip("# \t") for line in _text(folder / name).splitlines()]
        note = next((line for line in lines if line), "")
        if note:
            return note[:_LONGEST_NOTE]
    return ""


def _commit() -> str:
    """Of the pack's own checkout: one without, in ComfyUI's folder, would give ComfyUI's."""
    git = ["git", "-C", str(_ROOT), "rev-parse", "--show-toplevel", "--short", "HEAD"]
    try:
        said = subprocess.run(git, capture_output=True, text=True, check=False).stdout  # noqa: S603
    except OSError:
        return ""
    top, _, commit = said.strip().partition("\n")
    return commit if Path(top).resolve() == _ROOT else ""


def _text(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        return read_text(path)
    except (OSError, ValueError, FacePackError):
        return ""
