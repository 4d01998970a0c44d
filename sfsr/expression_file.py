"""Expression files: safetensors with blendshapes, a learned vector, and action units.

values [N, 51], valid [N, 51]     blendshapes, and which of them are known
learned [N, L]                    of the network in the metadata, if all of them have one
units [N, 12], has_units [N]      action units that an expression carries of its own
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import InputError, ModelFileError
from ..readers.json_text import parse_json
from ..storage import read_format, write_weights
from .disfa import COUNT as UNITS
from .disfa import UnitIntensities
from .expression import Expression

FORMAT = "sfsr-expression/1"
_MOST = 4096
_AGAIN = "Choose a file that Save Expression wrote"


def save_expressions(path: str | Path, expressions: Sequence[Expression]) -> None:
    """Write expressions: one, or one for each image of a batch.

    Args:
        path: The ``.safetensors`` file; an existing file is replaced.

    Raises:
        InputError: There are none, only some of them have a learned vector, or the file cannot be
            written.
        IncompatibleError: Their learned vectors come from different networks.
    """
    if not expressions:
        raise InputError("no expression was given", fix="Connect one")
    encoder = expressions[0].encoder
    vectors = [one.learned for one in expressions if one.learned is not None]
    if len(vectors) not in (0, len(expressions)):
        raise InputError(
            "only some of the expressions have numbers of a network",
            fix="Save them apart, or measure all with the same network",
        )
    for one in expressions:
        one.require_encoder(encoder)
    nothing = torch.zeros(UNITS)
    units = [one.units for one in expressions]
    tensors = {
        "values": torch.stack([one.values for one in expressions]),
        "valid": torch.stack([one.known for one in expressions]),
        "units": torch.stack([nothing if one is None else one.values for one in units]),
        "has_units": torch.tensor([one is not None for one in units]),
    }
    if vectors:
        tensors["learned"] = torch.stack(vectors)
    about = {
        "format": FORMAT,
        "encoder": encoder,
        "sources": json.dumps([one.source for one in expressions]),
        "lost": json.dumps([[] if one is None else list(one.lost) for one in units]),
    }
    write_weights(path, tensors, about)


def load_expressions(path: str | Path) -> tuple[Expression, ...]:
    """Read the expressions of a file.

    Raises:
        ModelFileError: The file is missing, truncated or altered, or of another kind.
    """
    tensors, about = read_format(path, FORMAT, _AGAIN)
    try:
        sources, lost = parse_json(about["sources"]), parse_json(about["lost"])
        if not 0 < len(sources) <= _MOST:
            raise ValueError(f"{len(sources)} expressions")
        learned = tensors.get("learned", [None] * len(sources))
        rows = zip(
            tensors["values"], tensors["valid"], tensors["units"], tensors["has_units"], learned,
            sources, lost, strict=True,
        )  # fmt: skip
        return tuple(
            Expression(
                values,
                str(source),
                valid,
                vector,
                about["encoder"],
                UnitIntensities(units, str(source), tuple(missing)) if has_units else None,
            )
            for values, valid, units, has_units, vector, source, missing in rows
        )
    except (KeyError, TypeError, ValueError, InputError) as error:
        what = error.what if isinstance(error, InputError) else str(error)
        raise ModelFileError(
            f"the file holds no expressions that can be used: {what}", where=str(path), fix=_AGAIN
        ) from error
