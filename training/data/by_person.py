"""The second half of ``denseface annotate --people cluster``: annotated images, sorted by person.

Images are first annotated each by itself, into shards below the data set's folder. Once all are
there, their identities are clustered and their records written person by person.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ...errors import InputError
from ...storage import atomic_path, writing
from . import codec as codec
from .annotate_folder import with_references
from .annotate_plan import PEOPLE
from .clusters import clusters
from .folder import Defects
from .people import Person
from .record import Record
from .shards import ShardEntry, index_shards, shard_files
from .writer import Writer

UNSORTED = "unsorted"
"""Folder of the shards of single images, until they are sorted."""
_FEATURE = "feat_file_v2"


def sorted_already(out: Path) -> bool:
    """Whether an earlier run has finished; leftovers of it are removed."""
    if not (out / PEOPLE).is_file():
        return False
    _remove(out / UNSORTED)
    return True


def sort_by_person(out: Path, photos: Sequence[Person], writer: Writer, cosine: float) -> None:
    """Cluster the images in :data:`UNSORTED` and write them person by person.

    The result depends on the images alone. A killed run goes on where it was.

    Args:
        photos: The images, each as a person of its own (:func:`.photos_of`).
        cosine: As of :func:`.clusters`.

    Raises:
        InputError: No image has an identity; the data set cannot be written to; or as
            :func:`.clusters`.
    """
    entries, identities = _identities(out / UNSORTED)
    people = clusters(identities, cosine)
    names = {person.subject_id: person.name for person in photos}
    size = writer.people_at_once
    for number, first in enumerate(range(0, len(people), size)):
        ids = list(range(first + 1, min(first + size, len(people)) + 1))
        if not writer.finished(number, ids):
            records: list[Record] = []
            for subject in ids:
                images = [entries[image] for image in people[subject - 1]]
                records += _of_person(subject, images)
            writer.write(number, ids, records)
    writer.finish()
    listed = {
        f"{subject:07d}": [names[int(entries[image].subject)] for image in images]
        for subject, images in enumerate(people, 1)
    }
    with atomic_path(out / PEOPLE) as temporary:
        temporary.write_text(json.dumps(listed, indent=1, ensure_ascii=False), encoding="utf-8")
    _remove(out / UNSORTED)


def _identities(folder: Path) -> tuple[list[ShardEntry], torch.Tensor]:
    """The records in a folder's shards that have an identity, and these [N, D] of unit norm."""
    defects = Defects()
    entries: list[ShardEntry] = []
    vectors: list[torch.Tensor] = []
    for entry in index_shards(shard_files(folder), defects):
        record = entry.read(defects, (_FEATURE, "images"))
        if record is not None and _FEATURE in record.files:
            vectors.append(codec.decode_feature(record.files[_FEATURE]))
            entries.append(entry)
    if defects.counts:
        raise InputError(
            "a shard of annotated images is damaged",
            where=f"{folder}, {defects.lines()[0]}",
            fix="Remove it and start the command again",
        )
    if not vectors:
        raise InputError("no image has an identity", where=str(folder))
    return entries, torch.nn.functional.normalize(torch.stack(vectors), dim=1)


def _of_person(subject: int, entries: Sequence[ShardEntry]) -> list[Record]:
    found = [entry.read(Defects()) for entry in entries]
    return with_references(
        [
            Record(index, replace(record.row, subject_id=subject), record.files)
            for index, record in enumerate(found)
            if record is not None
        ]
    )


def _remove(folder: Path) -> None:
    with writing(folder):
        if folder.is_dir():
            shutil.rmtree(folder)
