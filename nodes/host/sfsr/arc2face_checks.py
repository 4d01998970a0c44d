"""Whether Arc2Face's parts are combined with each other: UNet, text encoder, prompt, adapters.

Weights do not say what they were trained for, so networks are known by the files that they were
loaded from, and prompts by a mark of Encode Arc2Face Identity. All of this warns and refuses
nothing: files may bear other names.

Host objects used: ``ModelPatcher.cached_patcher_init``, ``WrappersMP.OUTER_SAMPLE``, ``CFGGuider.
conds``; further entries of a CONDITIONING.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy.patcher_extension import WrappersMP

from ....published_files import BY_KEY, Download
from ..weight_patches import KEY

UNET, TEXT = BY_KEY["arc2face-unet"], BY_KEY["arc2face-text"]
_MARK = "arc2face_identity"
"""Entry of a CONDITIONING that Encode Arc2Face Identity made."""
_NAME = "arc2face"
_OF_CHECKPOINTS = "load_checkpoint"
"""How the names of the host's loaders of checkpoints begin."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where a network comes from, as far as the host keeps that.

    name: Of the file or files; empty if unknown.
    arc2face: Whether it is Arc2Face's: a file of the published size, or Arc2Face in its name or its
        folder's.
    checkpoint: Whether it is a part of a checkpoint.
    """

    name: str = ""
    arc2face: bool = False
    checkpoint: bool = False


def origin(patcher: Any, published: Download) -> Origin:
    """Of a ModelPatcher that should hold a published network."""
    made = getattr(patcher, "cached_patcher_init", None)
    if not made or not made[1]:
        return Origin()
    found = made[1][0]
    paths = [Path(p) for p in ([found] if isinstance(found, str | Path) else found)]
    checkpoint = getattr(made[0], "__name__", "").startswith(_OF_CHECKPOINTS)
    known = any(_is_published(path, published) for path in paths)
    return Origin(", ".join(path.name for path in paths), known, checkpoint)


def mark_prompt(positive: Iterable[Any]) -> list[Any]:
    """The same CONDITIONING, to be recognised later."""
    return [[text, {**options, _MARK: True}] for text, options in positive]


def prompt_warnings(prompts: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is wrong with a prompt, by its parts' options: one sentence, or none."""
    if all(_MARK in each for each in prompts):
        return []
    return [
        "warning: the positive prompt does not come from Encode Arc2Face Identity, and Arc2Face "
        "reads no other"
    ]


def model_warnings(model: Any, adapter: str) -> list[str]:
    """What is wrong with the MODEL of one of Arc2Face's adapters: one sentence, or none."""
    of = origin(model, UNET)
    if of.arc2face or not of.checkpoint:
        return []
    return [
        f"warning: {adapter} was trained on Arc2Face's UNet, and the model is that of the "
        f"checkpoint {of.name}"
    ]


def watch_prompts(model: Any, where: str, *, adapter: bool) -> None:
    """Let a cloned MODEL warn at each sampling with a prompt that is not Arc2Face's.

    It does so if its UNet is Arc2Face's; where that is unknown, if one of Arc2Face's adapters is on
    it (``adapter``).
    """
    of = origin(model, UNET)
    if of.arc2face or (adapter and not of.checkpoint):
        name = f"{KEY}_{_NAME}"
        model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, name)
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, name, _Watch(where))


def warn(where: str, lines: Iterable[str]) -> None:
    """Log the warnings among the lines of a report."""
    for line in lines:
        if line.startswith(_WARNING):
            log.warning("%s: %s", where, line.removeprefix(_WARNING))


_WARNING = "warning: "


@dataclass(frozen=True)
class _Watch:
    """OUTER_SAMPLE wrapper."""

    where: str

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        conds = getattr(executor.class_obj, "conds", {})
        warn(self.where, prompt_warnings(conds.get("positive", ())))
        return executor(*args, **kwargs)


def _is_published(path: Path, published: Download) -> bool:
    if any(_NAME in part.lower() for part in path.parts[-2:]):
        return True
    sizes = {file.size for file in published.files}
    return path.is_file() and path.stat().st_size in sizes
