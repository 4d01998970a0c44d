"""The pack's files under a folder of any name, as aiohttp finds them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

PACK = {
    "web/js/a.js": "a",
    "web/docs/DenseFace_TinyPortrait.md": "help",
    "workflows/one.json": "{}",
}
SCRIPT, TEMPLATE = "/extensions/{}/js/a.js", "/workflow_templates/{}/one.json"
NAMES = (
    "dense-face",
    "dense_face (2)",
    "dense-face-0.1.0",
    "日本",
    "ä+b",
    "50%",
    "a#b",
    "a{b}",
    "a@2",
)


def answers(served: Any, monkeypatch: pytest.MonkeyPatch, pack: Path, *paths: str) -> list[int]:
    """The status of each path in a server that has the routes of a pack in that folder."""
    import server

    for file, text in PACK.items():
        (pack / file).parent.mkdir(parents=True, exist_ok=True)
        (pack / file).write_text(text, encoding="utf-8")
    routes = web.RouteTableDef()
    monkeypatch.setattr(served, "PACK", pack)
    monkeypatch.setattr(
        server, "PromptServer", SimpleNamespace(instance=SimpleNamespace(routes=routes))
    )
    served.add_file_routes()

    async def ask() -> list[int]:
        app = web.Application()
        app.add_routes(routes)
        # As the host does it, after the routes of all packs.
        app.add_routes([web.static(f"/extensions/{pack.name}", pack / "web")])
        app.add_routes([web.static(f"/workflow_templates/{pack.name}", pack / "workflows")])
        async with TestClient(TestServer(app)) as client:
            found = [await client.get(URL(path, encoded=True)) for path in paths]
            return [each.status for each in found]

    return asyncio.run(ask())


@pytest.fixture
def served(pack: ModuleType) -> Any:
    import importlib

    return importlib.import_module(f"{pack.__name__}.nodes.host.served_files")


@pytest.mark.parametrize("name", NAMES)
def test_any_folder_name(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = name.split(".")[0].split("@")[0]
    paths = (
        SCRIPT.format(quote(name)),
        TEMPLATE.format(quote(name)),
        f"/extensions/{quote(before)}/docs/DenseFace_TinyPortrait.md",
    )
    assert answers(served, monkeypatch, tmp_path / name, *paths) == [200, 200, 200]


def test_nothing_else_is_served(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.js").write_text("", encoding="utf-8")
    paths = (
        "/extensions/a%20b/..%2F..%2Fsecret.js",
        "/extensions/a%20b/%2Fetc%2Fhostname",
        "/extensions/a%20b/js",
        "/extensions/axb/js/a.js",
    )
    found = answers(served, monkeypatch, tmp_path / "a b", *paths)
    assert found == [404] * len(paths)


def test_the_help_of_another_pack_stays_its_own(
    served: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dense").mkdir()
    found = answers(
        served,
        monkeypatch,
        tmp_path / "dense.2",
        "/extensions/dense/docs/DenseFace_TinyPortrait.md",
    )
    assert found == [404]
