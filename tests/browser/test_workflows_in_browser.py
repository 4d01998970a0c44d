"""Every shipped workflow opens in the real frontend without a missing node and runs.

Workflows that read the user's own files are only opened.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer, Graph
from locate_host import ROOT
from own_files import needs_own_files
from PIL import Image
from real_browser import open_workflow
from ui_to_api import to_api

QUICK = {("01 First portrait", "classic"), ("18 All controls with photos", "vue")}
"""One that runs, and one of those that need files."""
OPENED = [
    pytest.param(
        (path, rendering),
        id=f"{path.stem}-{rendering}",
        marks=() if (path.stem, rendering) in QUICK else pytest.mark.slow,
    )
    for path in sorted((ROOT / "workflows").glob("*.json"))
    for rendering in ("classic", "vue")
]
SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"
WIDTH, HEIGHT = 1440, 900
READABLE = 0.7
"""Scale at which letters have 10 pixels; below 0.57 the classic rendering draws none."""
RESULT = 150
"""Side in pixels of a square as large as what the graph was run for."""

Box = list[float]


def _inputs(graph: Graph) -> dict[str, Any]:
    return {number: node["inputs"] for number, node in graph.items()}


def _apart(one: Box, other: Box) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


@pytest.fixture(scope="module", params=OPENED)
def opened(
    request: pytest.FixtureRequest, browser_server: ComfyServer
) -> tuple[Path, dict[str, Any]]:
    """A workflow and what the frontend reports of it, opened once for all tests."""
    workflow, rendering = request.param
    Image.new("RGB", (64, 64)).save(browser_server.base / "input" / "example.png")
    SCREENSHOTS.mkdir(exist_ok=True)
    return workflow, open_workflow(
        browser_server.url,
        workflow,
        rendering=rendering,
        run=not needs_own_files(workflow),
        again=not needs_own_files(workflow) and rendering == "classic",
        screenshot=SCREENSHOTS / f"{workflow.stem}_{rendering}.png",
    )


def test_workflow_opens_and_runs(
    browser_server: ComfyServer, opened: tuple[Path, dict[str, Any]]
) -> None:
    workflow, report = opened
    assert report["missing"] == []
    assert report["blocked"] == []
    ours = "/extensions/", "/dense_face/"
    assert [error for error in report["errors"] if any(part in error for part in ours)] == []
    saved = json.loads(workflow.read_text(encoding="utf-8"))
    assert _inputs(report["api"]) == _inputs(to_api(saved, browser_server.get("/object_info")))
    if not needs_own_files(workflow):
        assert report["run"]["status"] == "success", report["run"]["messages"]


def test_all_is_on_the_screen_and_readable(opened: tuple[Path, dict[str, Any]]) -> None:
    """Beside the frontend's own bars and its map, without zooming."""
    _, report = opened
    assert report["scale"] >= READABLE
    hidden = [
        (node["title"], node["box"])
        for node in report["nodes"]
        if not (node["box"][0] >= 0 and node["box"][2] <= WIDTH and node["box"][3] <= HEIGHT)
        or not all(_apart(node["box"], bar) for bar in report["covered"])
    ]
    assert hidden == []


def test_nothing_overlaps_on_the_screen(opened: tuple[Path, dict[str, Any]]) -> None:
    """The new rendering makes nodes as high as what is in them."""
    _, report = opened
    assert not [
        (one["title"], other["title"])
        for one, other in combinations(report["nodes"], 2)
        if not _apart(one["box"], other["box"])
    ]


def test_every_image_is_seen(opened: tuple[Path, dict[str, Any]]) -> None:
    workflow, report = opened
    if needs_own_files(workflow):
        return
    outputs, shown = report["run"]["outputs"], report["shown"]
    types = {str(node["id"]): node["type"] for node in report["nodes"]}
    made = [number for number, output in outputs.items() if output.get("images")]
    assert made
    assert [types[number] for number in made if number in types and not shown[number]] == []
    again = report.get("again", shown)
    assert [types[number] for number in made if number in types and not again[number]] == []
    areas = [
        sum(width * height for width, height in shown[number])
        for number in made
        if types.get(number) == "SaveImage"
    ]
    assert areas and min(areas) >= RESULT**2


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
