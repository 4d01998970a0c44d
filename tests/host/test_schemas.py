"""Names that outlive us: saved workflows break when a schema changes.

When a change is meant (a new node, an optional input at the end), write the files anew with
``python -m pytest tests/host/test_schemas.py --rewrite-schemas``.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from locate_host import ROOT
from node_schemas import describe, in_words

GOLDEN = ROOT / "tests" / "data" / "node_schemas.json"
LOCALE = ROOT / "locales" / "en" / "nodeDefs.json"
HELP = ROOT / "web" / "docs"
CATEGORIES = {"face/dense_face", "face/sfsr", "face/analysis", "face/training", "face/demo"}


@pytest.fixture(scope="module")
def nodes(pack: ModuleType) -> list[Any]:
    extension = asyncio.run(pack.comfy_entrypoint())
    return asyncio.run(extension.get_node_list())


def compared(path: Path, found: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """The stored file; written anew first when that was asked for."""
    if request.config.getoption("--rewrite-schemas"):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def test_schemas_are_those_of_saved_workflows(
    nodes: list[Any], request: pytest.FixtureRequest
) -> None:
    found = {node.define_schema().node_id: describe(node) for node in nodes}
    assert json.loads(json.dumps(found)) == compared(GOLDEN, found, request)


def test_english_locale_says_what_the_schemas_say(
    nodes: list[Any], request: pytest.FixtureRequest
) -> None:
    found = {node.define_schema().node_id: in_words(node) for node in nodes}
    assert found == compared(LOCALE, found, request)


def test_every_node_explains_itself(nodes: list[Any]) -> None:
    for node in nodes:
        schema = node.define_schema()
        assert re.fullmatch(r"(DenseFace|SFSR)_[A-Z][A-Za-z0-9]+", schema.node_id)
        assert schema.display_name and schema.display_name.isascii()
        assert schema.category in CATEGORIES
        assert schema.description and schema.search_aliases
        for item in (*schema.inputs, *schema.outputs):
            assert item.tooltip, f"{schema.node_id}.{item.id} has no tooltip"


def test_every_node_has_a_help_page(nodes: list[Any]) -> None:
    """Each input and output is told in the page that the frontend opens."""
    for node in nodes:
        schema = node.define_schema()
        page = (HELP / f"{schema.node_id}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {schema.display_name}\n")
        for item in (*schema.inputs, *schema.outputs):
            name = getattr(item, "display_name", None) or item.id
            assert f"`{name}`" in page, f"{schema.node_id}: {name} is not in its help page"


def test_no_page_without_a_node(nodes: list[Any]) -> None:
    ids = {node.define_schema().node_id for node in nodes}
    assert {page.stem for page in HELP.glob("*.md")} == ids
