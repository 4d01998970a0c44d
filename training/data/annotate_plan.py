"""``annotate.json`` of a data set: what it is made of, and whose identities it has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import IncompatibleError, InputError
from ...faces.encoders.names import same_encoder
from ...readers.json_text import parse_json
from ...storage import atomic_path
from .people import Person
from .writer import groups_of, open_writer

PLAN = "annotate.json"
PEOPLE = "people.json"
"""Of a data set that was sorted by identities: the images of each person; written last."""
_ENCODER = "encoder"
_LONGEST = 2**30
"""Letters: it names every person, or every image."""


def check_plan(out: Path, people: Sequence[Person], settings: str, encoder: str) -> None:
    """Save what a data set is made from, or compare with what an earlier run saved.

    Args:
        encoder: Name of the network that reads the identities; empty without one.

    Raises:
        InputError: The folder holds a data set of other people, with other settings or identities
            of another encoder, or cannot be written to.
    """
    plan = {
        "settings": settings,
        _ENCODER: encoder,
        "people": {str(person.subject_id): person.name for person in people},
    }
    path = out / PLAN
    before = _read(path)
    if before is None:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(plan, indent=1), encoding="utf-8")
    # Those of earlier versions do not name the encoder.
    elif {_ENCODER: encoder, **before} != plan:
        raise InputError(
            "the folder holds a data set of other people or with other settings",
            where=str(path),
            fix="Name another folder, or give the same images and options as before",
        )


def require_encoder(folder: Path, encoder: str) -> None:
    """Check that a data set's identities are those of an encoder, where it says whose they are.

    Raises:
        InputError: It has no identities.
        IncompatibleError: They are of another encoder.
    """
    plan = _read(folder / PLAN)
    found = None if plan is None else plan.get(_ENCODER)
    if found is None:
        return
    if not found:
        raise InputError(
            "the data set has no identities",
            where=str(folder),
            fix="Give IR-SE50 with --ir-se50, or annotate the photos again with --recogniser",
        )
    if not same_encoder(str(found), encoder):
        raise IncompatibleError(
            f"the data set's identities are of {found}, not of {encoder}",
            where=str(folder),
            fix=f"Give --encoder {found}, or annotate the photos again with the other recogniser",
        )


def require_complete(folder: Path) -> None:
    """Raise InputError if ``denseface annotate`` has not come to the end of a data set."""
    plan = _read(folder / PLAN)
    if plan is None:
        return
    settings = str(plan.get("settings", "")).split()
    if "cluster" in settings:
        done = [(folder / PEOPLE).is_file()]
    else:
        writer = open_writer("webdataset" if "webdataset" in settings else "folder", folder)
        people = [Person(int(number), "", ()) for number in plan.get("people", ())]
        done = [writer.finished(group.number, group.ids) for group in groups_of(people, writer)]
    if not all(done):
        raise InputError(
            f"the data set is not complete: {sum(done)} of {len(done)} parts are written",
            where=str(folder),
            fix="Start denseface annotate again, which goes on where it was",
        )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        if not path.is_file():
            return None
        plan = parse_json(path.read_bytes(), _LONGEST)
    except (OSError, ValueError) as error:
        raise InputError("the folder's plan cannot be read", where=str(path)) from error
    if not isinstance(plan, dict):
        raise InputError("the folder's plan cannot be read", where=str(path))
    return plan
