"""One file of a cache: the tensors of some records, and their names.

By variant, a row: ``row.latents`` [R, 4, h, w] and so on, in the order of the records and their
variants; ``row.text`` [R], the place of the caption in ``contexts`` [U, L, W]. By record:
``rows`` [K, V], the row of each variant, -1 where it cannot be used, and ``feature`` [K, D].
Keys and captions of the records are in the metadata, as is why records were left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from ...errors import ModelFileError, refuse_with
from ...readers.json_text import parse_json
from ...storage import CHECKSUM_KEY, read_shapes, tensor_checksum, write_weights
from ..data.dataset import Sample

_MADE_FROM = "made_from"
_ABOUT = "about"
_ROW = "row."


@dataclass(frozen=True)
class ShardContent:
    """What a shard holds.

    rows: Tensors [R, ...] by name. places: [K, V] (``rows``). features: [K, D].
    contexts: [U, L, W]; None for a trainer that reads no texts.
    keys, captions: Of the K records. defects: What was left out, and where.
    """

    rows: Mapping[str, Tensor]
    places: Tensor
    features: Tensor
    contexts: Tensor | None
    keys: Sequence[str]
    captions: Sequence[str]
    defects: Sequence[tuple[str, str]]

    def write(self, path: Path, digest: str) -> None:
        """Write the file, whole or not at all.

        Args:
            digest: Of what the cache is made from (``manifest``).

        Raises:
            InputError: It cannot be written.
        """
        tensors = {f"{_ROW}{name}": tensor for name, tensor in self.rows.items()}
        tensors |= {"rows": self.places, "feature": self.features}
        if self.contexts is not None:
            tensors["contexts"] = self.contexts
        about = {"keys": self.keys, "captions": self.captions, "defects": self.defects}
        write_weights(path, tensors, {**made_from(path, digest), _ABOUT: json.dumps(about)})


class Shard:
    """An open file of a cache, whose checksum is verified once.

    Raises:
        ModelFileError: It is missing, damaged, or of another cache.
    """

    def __init__(self, path: Path, digest: str) -> None:
        with refuse_with(damaged_file(path)):
            self._file: Any = safe_open(path, framework="pt", device="cpu")
            self._file.__enter__()
            names = list(self._file.keys())
            metadata = dict(self._file.metadata())
            found = tensor_checksum({name: self._file.get_tensor(name) for name in names})
            if metadata[CHECKSUM_KEY] != found or not is_from(metadata, path, digest):
                raise ValueError("altered")
            about = parse_json(metadata[_ABOUT])
            self.keys, self.captions = list(about["keys"]), list(about["captions"])
            self.defects = [(str(what), str(where)) for what, where in about["defects"]]
            self.rows: Tensor = self._file.get_tensor("rows")
        self._slices = {name: self._file.get_slice(name) for name in names if name != "rows"}

    def sample(self, record: int, variant: int) -> Sample | None:
        """A variant of the shard's record; None if it cannot be used."""
        row = int(self.rows[record, variant])
        if row < 0:
            return None
        found: Sample = {
            name.removeprefix(_ROW): each[row]
            for name, each in self._slices.items()
            if name.startswith(_ROW)
        }
        if "contexts" in self._slices:
            found["context"] = self._slices["contexts"][int(found.pop("text"))]
        named = {"key": self.keys[record], "caption": self.captions[record]}
        return {**found, "feature": self.feature(record), **named}

    def feature(self, record: int) -> Tensor:
        """The identity [D] of the shard's record; NaN where it has none."""
        return self._slices["feature"][record]


def damaged_file(path: Path) -> ModelFileError:
    """The error for a file that cannot be used."""
    return ModelFileError(
        "the cache's file is damaged",
        where=str(path),
        fix="Remove it and start again: it alone is computed anew",
    )


def is_written(path: Path, digest: str) -> bool:
    """Whether a whole file of this cache is there; its contents are not read."""
    if not path.is_file():
        return False
    try:
        _, metadata = read_shapes(path)
    except ModelFileError:
        return False
    return is_from(metadata, path, digest)


def made_from(path: Path, digest: str) -> dict[str, str]:
    """Metadata of a cache's file: what it was made from, and its name.

    Under the name of another file it would stand for other records.
    """
    return {_MADE_FROM: f"{digest} {path.name}"}


def is_from(metadata: Mapping[str, str], path: Path, digest: str) -> bool:
    """Whether a file's metadata are those of :func:`made_from`."""
    return made_from(path, digest).items() <= metadata.items()
