"""Names that outlive us: saved workflows break when a schema changes.

After an intended change (a new node, an optional input at the end) write the golden file anew with
``python -m pytest tests/host/test_schemas.py --rewrite-schemas``; after a change of a display name,
description or tooltip write the English locale with ``make locales``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from locate_host import ROOT
from node_schemas import frozen_parts, locale_entry
from ui_to_api import SEEDS

GOLDEN = ROOT / "tests" / "data" / "node_schemas.json"
LOCALE = ROOT / "locales" / "en" / "nodeDefs.json"
CATEGORIES = {"face/dense_face", "face/sfsr", "face/analysis", "face/mesh", "face/demo"}


def stored(path: Path, found: dict[str, Any], *, rewrite: bool) -> dict[str, Any]:
    """The content of a file, after writing ``found`` to it if requested."""
    if rewrite:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def test_schemas_are_those_of_saved_workflows(
    schemas: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    found = {name: frozen_parts(schema) for name, schema in schemas.items()}
    rewrite = bool(request.config.getoption("--rewrite-schemas"))
    assert json.loads(json.dumps(found)) == stored(GOLDEN, found, rewrite=rewrite)


def test_english_locale_is_generated_from_the_schemas(
    schemas: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    found = {name: locale_entry(schema) for name, schema in schemas.items()}
    rewrite = bool(request.config.getoption("--rewrite-locale"))
    assert found == stored(LOCALE, found, rewrite=rewrite), "run make locales"


def test_who_it_is_stays_until_changed(schemas: dict[str, Any]) -> None:
    """The frontend puts a control beside a seed anyway, which randomises unless it is told so."""
    for schema in schemas.values():
        for item in schema.inputs:
            control = getattr(item, "control_after_generate", None)
            if control is not None or (item.io_type == "INT" and item.id in SEEDS):
                assert control == "fixed", f"{schema.node_id}.{item.id}"


def test_every_node_explains_itself(schemas: dict[str, Any]) -> None:
    for schema in schemas.values():
        assert re.fullmatch(r"(DenseFace|SFSR)_[A-Z][A-Za-z0-9]+", schema.node_id)
        assert schema.display_name and schema.display_name.isascii()
        assert schema.category in CATEGORIES
        assert schema.description and schema.search_aliases
        for item in (*schema.inputs, *schema.outputs):
            assert item.tooltip, f"{schema.node_id}.{item.id} has no tooltip"
