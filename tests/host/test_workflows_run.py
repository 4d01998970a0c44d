"""Every shipped workflow runs as shipped in a real server, through its API, to a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from ui_to_api import to_api

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
NAMES = [path.stem for path in WORKFLOWS]


def test_there_are_workflows() -> None:
    assert "first_portrait" in NAMES


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
def test_workflow_runs(server: ComfyServer, workflow: Path) -> None:
    saved = json.loads(workflow.read_text(encoding="utf-8"))
    outputs = server.run(to_api(saved, server.get("/object_info")))
    images = [image for output in outputs.values() for image in output.get("images", [])]
    assert images, "the workflow shows no picture"
    for image in images:
        assert server.view(image).startswith(b"\x89PNG")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
def test_template_has_a_thumbnail(workflow: Path) -> None:
    """The host's template browser shows the .jpg of the same name."""
    assert workflow.with_suffix(".jpg").read_bytes().startswith(b"\xff\xd8")
