"""The pack's nodes in this process, for the tests of this folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from in_host import Tiny
from tiny_random import write_world


@pytest.fixture(scope="session")
def tiny(pack: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The pack's nodes on a tiny world of random weights."""
    tiny = Tiny(pack, write_world(tmp_path_factory.mktemp("tiny_world")))
    tiny.module("nodes.host.folders").register_folders()
    return tiny


@pytest.fixture(scope="session")
def schemas(pack: ModuleType) -> dict[str, Any]:
    """The schema of every node, by node id."""
    extension = asyncio.run(pack.comfy_entrypoint())
    found = [node.define_schema() for node in asyncio.run(extension.get_node_list())]
    return {schema.node_id: schema for schema in found}


@pytest.fixture
def ip_adapters(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """models/ipadapter."""
    import folder_paths

    endings = tiny.module("nodes.host.folders").IP_ENDINGS
    registered = ([str(tmp_path)], set(endings))
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", registered)
    return tmp_path


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-schemas", action="store_true", help="write the golden node schemas anew"
    )
