"""The templates for files of one's own fit the nodes and name the files.

``workflows/test_own_files.py`` runs them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from ui_to_api import nodes_of, to_api

WORKFLOWS = [path for path in sorted((ROOT / "workflows").glob("1*.json")) if path.stem[:2] < "19"]
NAMES = [path.stem for path in WORKFLOWS]
PUBLISHED = {
    "CheckpointLoaderSimple", "CLIPLoader", "CLIPVisionLoader", "ControlNetLoader",
    "DenseFace_LoadAdapter", "SFSR_LoadAdapter", "UNETLoader",
}  # fmt: skip


def saved(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
def test_it_fits_the_nodes(server: ComfyServer, workflow: Path) -> None:
    described = server.get("/object_info")
    for node in to_api(saved(workflow), described).values():
        inputs = described[node["class_type"]]["input"]
        known = {**inputs["required"], **inputs.get("optional", {})}
        assert set(inputs["required"]) <= set(node["inputs"]), node["class_type"]
        assert set(node["inputs"]) <= set(known), node["class_type"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
def test_missing_models_are_named_as_the_host_reads_them(workflow: Path) -> None:
    """The frontend looks for a widget's value among the models in the node's properties."""
    nodes = nodes_of(saved(workflow))
    readers = [node for node in nodes if node["type"] in PUBLISHED]
    (note,) = (node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
    assert len(readers) >= 2
    for node in readers:
        models = node["properties"]["models"]
        assert node["widgets_values"][0] in [model["name"] for model in models]
        for model in models:
            assert set(model) == {"name", "url", "directory"}
            assert model["url"].startswith("https://")
    assert "names every missing file" in note
    assert "`denseface" not in note, "no note asks for the command line"
