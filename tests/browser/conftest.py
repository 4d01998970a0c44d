"""The server that a real browser opens."""

from __future__ import annotations

import pytest
from comfy_server import ComfyServer
from real_browser import why_no_browser


@pytest.fixture(scope="session")
def browser_server(request: pytest.FixtureRequest) -> ComfyServer:
    """The running server; skipped, with the reason, where no browser can be driven."""
    missing = why_no_browser()
    if missing:
        pytest.skip(missing)
    return request.getfixturevalue("server")
