"""Shipped workflows that need the user's own files: which they are, and running them."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from comfy_server import ComfyServer, Graph
from locate_host import ROOT
from PIL import Image
from ui_to_api import nodes_of, to_api
from watched_run import watched_run

SECONDS = 1500
Changes = dict[str, dict[str, Any]]
"""Node type -> inputs that differ from the template's."""

READERS = {
    "CheckpointLoaderSimple",
    "DenseFace_LoadAnalyzer",
    "DenseFace_LoadEncoder",
    "LoadImage",
}


def needs_own_files(workflow: Path) -> bool:
    """Whether a saved workflow reads anything that does not come with the pack."""
    saved = json.loads(workflow.read_text(encoding="utf-8"))
    return any(
        node["type"] in READERS or node["properties"].get("models") for node in nodes_of(saved)
    )


def template(server: ComfyServer, name: str, changes: Changes) -> Graph:
    """A shipped workflow as the API takes it, with other inputs."""
    path = ROOT / "workflows" / f"{name}.json"
    graph = to_api(json.loads(path.read_text(encoding="utf-8")), server.get("/object_info"))
    for kind, inputs in changes.items():
        nodes = [node for node in graph.values() if node["class_type"] == kind]
        assert nodes, f"{name} has no {kind}"
        for node in nodes:
            assert set(inputs) <= set(node["inputs"]), f"{kind} has other inputs"
            node["inputs"].update(inputs)
    return graph


def drawn(server: ComfyServer, graph: Graph, *, again: bool = False) -> tuple[list[Any], str]:
    """The images that the template saves, in 0..255, and all texts that it shows.

    again: After a run of almost the same graph: the host keeps results, so not all nodes run.
    """
    run = watched_run(server, graph, SECONDS)
    entry, ran = run.entry, run.ran
    assert entry["status"]["status_str"] == "success", entry["status"]
    assert again or ran == set(graph), f"not run: {set(graph) - ran}"
    (save,) = (number for number, node in graph.items() if node["class_type"] == "SaveImage")
    images = [
        np.asarray(Image.open(BytesIO(server.view(image)))).astype(int)
        for image in entry["outputs"][save]["images"]
    ]
    # NaN and infinity are saved as black.
    assert all(image.std() > 2 for image in images)
    texts = [text for output in entry["outputs"].values() for text in output.get("text", [])]
    return images, "\n".join(texts)


def difference(one: Any, other: Any) -> float:
    """Mean of the absolute differences, in 0..255."""
    return float(np.abs(one - other).mean())
