"""What a cache was made from; another one is refused, never read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from ...errors import InputError, ModelFileError, refuse_with
from ...readers.files import read_text
from ...readers.json_text import parse_json
from ...storage import atomic_path
from ..runs.fingerprint import Fingerprint

MANIFEST = "cache.json"


def digest_of(fingerprint: Fingerprint) -> str:
    """Short name of what a cache was made from; every file of the cache carries it."""
    text = json.dumps(asdict(fingerprint), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def claim(folder: Path, fingerprint: Fingerprint) -> None:
    """Write what the cache is made from, or compare with what it was made from.

    Raises:
        InputError: It was made from something else, or cannot be written.
        ModelFileError: The manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(asdict(fingerprint), indent=1), encoding="utf-8")
        return
    damaged = ModelFileError(
        "the cache's manifest is damaged", where=str(path), fix=f"Remove the folder {folder}"
    )
    with refuse_with(damaged):
        found = parse_json(read_text(path))
        before = Fingerprint(dict(found["settings"]), dict(found["checksums"]))
    different = fingerprint.differences(before)
    if different:
        raise InputError(
            f"the folder holds a cache of something else: {'; '.join(different)}",
            where=str(folder),
            fix="Name another --cache, or remove the folder",
        )
