"""Every shipped workflow opens in the real frontend without a missing node and runs.

Workflows that read the user's own files are only opened.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer, Graph
from locate_host import ROOT
from own_files import needs_own_files
from PIL import Image
from real_browser import open_workflow
from ui_to_api import to_api

QUICK = {"01 First portrait", "18 All controls with photos"}
"""One that runs, and the largest of those that need files."""
WORKFLOWS = [
    pytest.param(path, id=path.stem, marks=() if path.stem in QUICK else pytest.mark.slow)
    for path in sorted((ROOT / "workflows").glob("*.json"))
]


def _inputs(graph: Graph) -> dict[str, Any]:
    return {number: node["inputs"] for number, node in graph.items()}


@pytest.fixture(scope="module", params=WORKFLOWS)
def opened(
    request: pytest.FixtureRequest,
    browser_server: ComfyServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, Any]]:
    """A workflow and what the frontend reports of it, opened once for all tests."""
    workflow: Path = request.param
    Image.new("RGB", (64, 64)).save(browser_server.base / "input" / "example.png")
    screenshot = tmp_path_factory.mktemp("screenshots") / f"{workflow.stem}.png"
    runs = not needs_own_files(workflow)
    return workflow, open_workflow(browser_server.url, workflow, run=runs, screenshot=screenshot)


def test_workflow_opens_and_runs(
    browser_server: ComfyServer, opened: tuple[Path, dict[str, Any]]
) -> None:
    workflow, report = opened
    assert report["missing"] == []
    assert report["blocked"] == []
    saved = json.loads(workflow.read_text(encoding="utf-8"))
    assert _inputs(report["api"]) == _inputs(to_api(saved, browser_server.get("/object_info")))
    if needs_own_files(workflow):
        return
    run = report["run"]
    assert run["status"] == "success", run["messages"]
    images = [image for output in run["outputs"].values() for image in output.get("images", [])]
    assert images, "the workflow makes no image"
    assert browser_server.view(images[-1])


def test_our_widgets_explain_themselves(opened: tuple[Path, dict[str, Any]]) -> None:
    _, report = opened
    silent = [
        f"{node['type']}.{widget['name']}"
        for node in report["nodes"]
        if node["type"].startswith(("DenseFace_", "SFSR_"))
        for widget in node["widgets"]
        # The frontend adds these itself: beside a seed, named after its value, and an upload. The
        # pack's controls ("dense_face") belong to no input and hold their own words.
        if not widget["tooltip"]
        and widget["name"] not in {"fixed", "upload"}
        and widget["type"] != "dense_face"
    ]
    assert silent == []
