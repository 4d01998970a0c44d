"""Our nodes in this process, for the tests of this folder."""

from __future__ import annotations

from types import ModuleType

import pytest
from in_host import Tiny
from tiny_random import write_world


@pytest.fixture(scope="session")
def tiny(pack: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The pack's nodes on a tiny world of random weights."""
    return Tiny(pack, write_world(tmp_path_factory.mktemp("tiny_world")))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-schemas", action="store_true", help="write the golden node schemas anew"
    )
