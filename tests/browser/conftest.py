"""The server that a real browser opens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from real_browser import why_no_browser

NEWEST = os.environ.get("NEWEST_FRONTEND", "")
"""The folder ``static`` of an unpacked comfyui_frontend_package: all tests run with it too."""
FRONTENDS = ["own", *([pytest.param("newest", marks=pytest.mark.slow)] if NEWEST else [])]


@pytest.fixture(scope="session", params=FRONTENDS)
def browser_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyServer]:
    """The running server; skipped, with the reason, where no browser can be driven."""
    missing = why_no_browser()
    if missing:
        pytest.skip(missing)
    if request.param == "own":
        yield request.getfixturevalue("server")
        return
    host: Path = request.getfixturevalue("host_path")
    base = tmp_path_factory.mktemp("newest_frontend")
    flags = ("--front-end-root", NEWEST)
    with ComfyServer(host, base, {"comfyui-dense-face": ROOT}, flags) as running:
        yield running
