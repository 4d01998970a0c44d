"""The fixture of the files here, which write the images of the nodes' help pages.

Each of their tests runs a graph in a real server and writes one image, so what the help shows is
what the node does. ``make help-images`` runs them all; they are no part of ``make test``.
"""

from __future__ import annotations

import pytest
from comfy_server import ComfyServer
from help_studio import Studio


@pytest.fixture
def studio(server: ComfyServer) -> Studio:
    return Studio(server, server.get("/object_info"))
