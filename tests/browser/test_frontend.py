"""The driver itself: a workflow of core nodes opens and runs in the real frontend."""

from __future__ import annotations

import json
from pathlib import Path

from comfy_server import ComfyServer
from real_browser import open_workflow

CORE = {
    "last_node_id": 2,
    "last_link_id": 1,
    "nodes": [
        {
            "id": 1,
            "type": "EmptyImage",
            "pos": [100, 100],
            "size": [270, 130],
            "flags": {},
            "order": 0,
            "mode": 0,
            "inputs": [],
            "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [1]}],
            "properties": {},
            "widgets_values": [64, 32, 1, 255],
        },
        {
            "id": 2,
            "type": "SaveImage",
            "pos": [500, 100],
            "size": [270, 270],
            "flags": {},
            "order": 1,
            "mode": 0,
            "inputs": [{"name": "images", "type": "IMAGE", "link": 1}],
            "outputs": [],
            "properties": {},
            "widgets_values": ["core"],
        },
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
    "groups": [],
    "config": {},
    "extra": {},
    "version": 0.4,
}


def test_core_workflow_runs(browser_server: ComfyServer, tmp_path: Path) -> None:
    workflow = tmp_path / "core.json"
    workflow.write_text(json.dumps(CORE), encoding="utf-8")
    image = tmp_path / "screen.png"
    report = open_workflow(browser_server.url, workflow, run=True, screenshot=image)
    assert report["missing"] == []
    assert report["run"]["status"] == "success"
    assert report["api"]["2"]["inputs"]["images"] == ["1", 0]
    widgets = {widget["name"]: widget["value"] for widget in report["nodes"][0]["widgets"]}
    assert widgets["width"] == 64
    assert image.stat().st_size > 10_000


def test_missing_nodes_are_seen(browser_server: ComfyServer, tmp_path: Path) -> None:
    broken = json.loads(json.dumps(CORE).replace("EmptyImage", "NoSuchNode"))
    workflow = tmp_path / "broken.json"
    workflow.write_text(json.dumps(broken), encoding="utf-8")
    assert open_workflow(browser_server.url, workflow)["missing"] == ["NoSuchNode"]
