"""A published adapter from its file or files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from .arc2face import FlameAdapter, flame_adapter
from .fineface import ExpressionAdapter, expression_adapter
from .identity_adapter import IdentityAdapter, identity_adapter
from .layout import FlameLayout, IdentityLayout, is_half, recognise
from .places import Target
from .reading import read_adapter_files
from .refuse import refuse_unnormalised
from .state_dict import merged

PublishedAdapter = IdentityAdapter | ExpressionAdapter | FlameAdapter

_PLUS_V2 = re.compile(r"plus[\W_]*v2", re.IGNORECASE)
_HALVES = ("attn_processors", "au_encoder")


def load_published(
    paths: str | Path | Sequence[str | Path],
    *,
    shortcut: bool | None = None,
    target: Target | None = None,
) -> PublishedAdapter:
    """Read FaceID, FaceID-Plus, Plus v2, Portrait (with their LoRA), FineFace or Arc2Face's
    expression adapter.

    Args:
        paths: The file; for FineFace its two files, one of them with the other beside it under its
            published name, or one that holds both.
        shortcut: Whether a file of the Plus layout is v2; None: what its name proposes.
        target: What it has to fit; None: the base that it is made for (``layout.recognise``).

    Raises:
        ModelFileError: Missing, truncated, damaged or hostile; weights missing, unknown or twice;
            no adapter.
        IncompatibleError: For another base, or of a kind that is not run here.
    """
    files = [paths] if isinstance(paths, str | Path) else list(paths)
    refuse_unnormalised(files[0])
    tensors = read_adapter_files(files)
    partner = partner_file(files[0]) if len(files) == 1 and is_half(tensors) else None
    if partner is not None:
        files.append(partner)
        tensors = merged([tensors, read_adapter_files([partner])], _joined(files))
    where = _joined(files)
    v2 = proposes_plus_v2(files[0]) if shortcut is None else shortcut
    return published_adapter(tensors, shortcut=v2, target=target, where=where)


def published_adapter(
    tensors: Mapping[str, Tensor],
    *,
    shortcut: bool = False,
    target: Target | None = None,
    where: str = "",
) -> PublishedAdapter:
    """The adapter of tensors under one spelling (``state_dict.flat_state_dict``).

    Raises:
        ModelFileError, IncompatibleError: As :func:`load_published`.
    """
    layout = recognise(tensors, target=target, shortcut=shortcut, where=where)
    if isinstance(layout, IdentityLayout):
        return identity_adapter(tensors, layout, where)
    if isinstance(layout, FlameLayout):
        return flame_adapter(tensors, layout, where)
    return expression_adapter(tensors, layout, where)


def proposes_plus_v2(path: str | Path) -> bool:
    """Whether a file's name says Plus v2: ``ip-adapter-faceid-plusv2_sd15``, ``Plus v2``."""
    return bool(_PLUS_V2.search(Path(path).name))


def partner_file(path: str | Path) -> Path | None:
    """The other of FineFace's two files, by its published name in the same folder; None without."""
    path = Path(path)
    for here, there in (_HALVES, _HALVES[::-1]):
        other = path.with_name(path.name.replace(here, there))
        if here in path.name and other.is_file():
            return other
    return None


def _joined(files: Sequence[str | Path]) -> str:
    return ", ".join(str(path) for path in files)
