"""The real server, started once for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT

PACK_FOLDER = "comfyui-dense-face"


@pytest.fixture(scope="session")
def server(host_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyServer]:
    """ComfyUI on a free port with our pack as its only custom node."""
    base = tmp_path_factory.mktemp("comfy_server")
    with ComfyServer(host_path, base, {PACK_FOLDER: ROOT}) as running:
        yield running
