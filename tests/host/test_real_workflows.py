"""The templates for files of one's own: what they name and how they lie.

``workflows/test_own_files.py`` runs them.
"""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from ui_to_api import to_api

WORKFLOWS = [
    path
    for start in ("arc2face", "real")
    for path in sorted((ROOT / "workflows").glob(f"{start}_*.json"))
]
NAMES = [path.stem for path in WORKFLOWS]
TITLE = 34
"""Height of a node's title, above its position."""
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
    nodes = saved(workflow)["nodes"]
    readers = [node for node in nodes if node["type"] in PUBLISHED]
    (note,) = (node["widgets_values"][0] for node in nodes if node["type"] == "MarkdownNote")
    assert len(readers) >= 2
    for node in readers:
        models = node["properties"]["models"]
        assert node["widgets_values"][0] in [model["name"] for model in models]
        for model in models:
            assert set(model) == {"name", "url", "directory"}
            assert model["url"].startswith("https://")
            assert Path(model["name"]).name in note and f"models/{model['directory']}" in note
    assert "`denseface" not in note, "no note asks for the command line"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
def test_nothing_overlaps(workflow: Path) -> None:
    def inside(one: Any, other: Any) -> bool:
        return all(
            a < b + other[1][i] and b < a + one[1][i]
            for i, (a, b) in enumerate(zip(one[0], other[0], strict=True))
        )

    def box(node: dict[str, Any]) -> Any:
        (x, y), (width, height) = node["pos"], node["size"]
        return (x, y - TITLE), (width, height + TITLE)

    graph = saved(workflow)
    assert not [
        (a["type"], b["type"]) for a, b in combinations(graph["nodes"], 2) if inside(box(a), box(b))
    ]
    groups = [(each["bounding"][:2], each["bounding"][2:]) for each in graph["groups"]]
    assert not any(inside(a, b) for a, b in combinations(groups, 2))
    for node in graph["nodes"]:
        assert node["type"] == "MarkdownNote" or any(inside(box(node), group) for group in groups)
