"""A graph without its files is refused at once, and every one of them is described."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_server import ComfyServer, Graph, ServerError
from comfyui_dense_face.published_files import BY_KEY, Download, needed_by, workflow_names
from locate_host import ROOT
from ui_to_api import to_api

WORKFLOWS = workflow_names()
ANALYZER = {
    "finder": "landmarker",
    "task_file": "first one found",
    "insightface_pack": "first one found",
    "pose_file": "first one found",
    "threshold": 0.5,
    "detection_size": 320,
    "look_twice": True,
}


def template(server: ComfyServer, name: str) -> Graph:
    saved = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    graph = to_api(saved, server.get("/object_info"))
    photo = ROOT / "docs" / "images" / "dense_face.jpg"
    name = server.upload_image(photo)
    for node in graph.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = name
    return graph


def answers(server: ComfyServer, graph: Graph) -> dict[str, list[str]]:
    """Type of the node -> what the host shows on it when the graph is queued.

    It runs what depends on no such node, and refuses the graph if nothing is left.
    """
    try:
        body = server.post("/prompt", {"prompt": graph})
        server.wait(body["prompt_id"])
    except ServerError as refused:
        body = json.loads(str(refused).split(": ", 1)[1])
    found: dict[str, list[str]] = {}
    for node in body["node_errors"].values():
        said = [each["details"] for each in node["errors"]]
        found.setdefault(node["class_type"], []).extend(said)
    return found


def described(download: Download, text: str) -> bool:
    """Name, size, page, licence and folder."""
    parts = (*(file.name for file in download.files), download.page, download.licence)
    place = download.folder.split("/")[0]
    return all(part in text for part in (*parts, download.size, place))


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_all_at_one_queueing(server: ComfyServer, workflow: str) -> None:
    found = answers(server, template(server, workflow))
    text = "\n".join(line for lines in found.values() for line in lines)
    missing = [each.key for each in needed_by(workflow) if not described(each, text)]
    assert missing == []
    for node, lines in found.items():
        if node.startswith(("DenseFace_", "SFSR_")):
            ours = [line for line in lines if "missing" in line]
            assert ours and all("\n" not in line for line in ours)
    assert text.count("Other nodes of this graph lack") <= 1


def test_each_graph_is_described_anew(server: ComfyServer) -> None:
    graph = template(server, "13 Turn the head")
    assert answers(server, graph) == answers(server, graph)


def test_what_is_there_is_not_named(server: ComfyServer) -> None:
    graph = template(server, "13 Turn the head")
    folder = server.base / "models"
    files = [
        folder / "dense_face" / "face_landmarker.task",
        folder / "controlnet" / "control_v2p_sd15_mediapipe_face.safetensors",
    ]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    try:
        found = answers(server, graph)
    finally:
        for file in files:
            file.unlink()
    assert "DenseFace_DrawFaceMesh" not in found and "ControlNetLoader" not in found
    assert not described(BY_KEY["mediapipe-face"], str(found))
    assert described(BY_KEY["buffalo_l"], str(found))


def test_half_of_fineface(server: ComfyServer) -> None:
    folder = server.base / "models" / "ipadapter"
    folder.mkdir(exist_ok=True)
    half = folder / "sd15_au_encoder.ckpt"
    half.write_bytes(b"")
    inputs = {"adapter_name": f"ipadapter/{half.name}", "plus_version": "by the file's name"}
    try:
        found = answers(server, _shown("SFSR_LoadAdapter", inputs))
    finally:
        half.unlink()
    (said,) = found["SFSR_LoadAdapter"]
    assert "sd15_attn_processors.ckpt, the other half of FineFace, is missing" in said


def test_only_the_chosen_finder_counts(server: ComfyServer) -> None:
    assert "DenseFace_LoadAnalyzer" not in _refused_for(server, finder="tiny world")
    (said,) = _refused_for(server, finder="YuNet")["DenseFace_LoadAnalyzer"]
    assert "the YuNet file is missing" in said
    (said,) = _refused_for(server, finder="a guess")["DenseFace_LoadAnalyzer"]
    assert "is not one of landmarker, insightface" in said


def _refused_for(server: ComfyServer, **changes: Any) -> dict[str, list[str]]:
    """Of a graph with this analyzer, refused in any case for its image."""
    graph = _shown("DenseFace_LoadAnalyzer", {**ANALYZER, **changes})
    return answers(server, graph)


def _shown(loader: str, inputs: dict[str, Any]) -> Graph:
    """The loader, an output that depends on it and an image that is not there."""
    if loader == "SFSR_LoadAdapter":
        user = {"class_type": "SFSR_Apply", "inputs": {"adapter": ["1", 0]}}
    else:
        user = {"class_type": "DenseFace_DetectFaces", "inputs": {"analyzer": ["1", 0]}}
    return {
        "1": {"class_type": loader, "inputs": inputs},
        "2": user,
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
