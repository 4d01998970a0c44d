"""Detect, encode, crop, paste in a real server: the shipped workflow without its sampling."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer, Graph
from locate_host import ROOT
from ui_to_api import to_api

EMPTY = {"width": 128, "height": 128, "batch_size": 1, "color": 0x808080}


def pixels(server: ComfyServer, image: dict[str, str]) -> Any:
    from io import BytesIO

    from PIL import Image

    return np.asarray(Image.open(BytesIO(server.view(image)))).astype(float)


def node_of(graph: Graph, kind: str) -> str:
    (number,) = (number for number, node in graph.items() if node["class_type"] == kind)
    return number


@pytest.fixture(scope="module")
def shipped(server: ComfyServer) -> Graph:
    path = ROOT / "workflows" / "05 Turn one head in a group.json"
    return to_api(json.loads(path.read_text(encoding="utf-8")), server.get("/object_info"))


def without_sampling(
    shipped: Graph, image: tuple[str, dict[str, Any]] | None, **changes: Any
) -> Graph:
    """The workflow with its crops pasted back unchanged, on another image if one is given."""
    graph: Graph = json.loads(json.dumps(shipped))
    detect, crop = node_of(graph, "DenseFace_DetectFaces"), node_of(graph, "DenseFace_CropFace")
    paste, save = node_of(graph, "DenseFace_PasteFace"), node_of(graph, "SaveImage")
    encode = node_of(graph, "DenseFace_EncodeIdentity")
    graph[paste]["inputs"]["crops"] = [crop, 0]
    graph[detect]["inputs"].update(changes)
    if image is not None:
        kind, inputs = image
        graph["group"] = {"class_type": kind, "inputs": inputs}
        graph[detect]["inputs"]["image"] = ["group", 0]
    before = {"images": graph[detect]["inputs"]["image"]}
    who = {"identity": [encode, 0], "name": "workflow"}
    graph["before"] = {"class_type": "PreviewImage", "inputs": before}
    graph["who"] = {"class_type": "DenseFace_SaveIdentity", "inputs": who}
    graph["result"] = {**graph.pop(save), "class_type": "PreviewImage"}
    graph["result"]["inputs"] = {"images": [paste, 0]}
    pending = ["before", "result", "who"]
    kept: dict[str, dict[str, Any]] = {}
    while pending:
        number = pending.pop()
        kept[number] = graph[number]
        links = [value for value in graph[number]["inputs"].values() if isinstance(value, list)]
        pending += [str(link[0]) for link in links if str(link[0]) not in kept]
    return kept


def portrait(person: int, yaw: float = 0.0) -> tuple[str, dict[str, Any]]:
    angles = {"yaw": yaw, "pitch": 0.0, "roll": 0.0}
    return "DenseFace_TinyPortrait", {"person": person, "scene": 3, "size": 128, **angles}


@pytest.mark.parametrize(("faces", "index"), [(1, 0), (3, 0), (3, 2), (3, -1)])
def test_one_and_three_faces(server: ComfyServer, shipped: Graph, faces: int, index: int) -> None:
    image = portrait(2) if faces == 1 else None
    outputs = server.run(without_sampling(shipped, image, face_index=index))
    before, after = (pixels(server, outputs[n]["images"][0]) for n in ("before", "result"))
    assert after.shape == before.shape == (128, 128 * faces, 3)
    changed = np.abs(after - before).max(axis=(0, 2)) > 0
    if index >= 0:  # only that head, and it comes back nearly as it was
        away = np.abs(np.arange(128 * faces) - (128 * index + 64)) > 100
        assert changed.any() and not changed[away].any()
    assert np.abs(after - before).mean() < 1.5
    assert outputs["who"]["text"][0].startswith("Saved as workflow")


@pytest.mark.parametrize("mode", ["error", "skip", "pass through"])
def test_image_without_a_face(server: ComfyServer, shipped: Graph, mode: str) -> None:
    graph = without_sampling(shipped, ("EmptyImage", EMPTY), on_missing=mode, face_index=-1)
    if mode == "pass through":  # nobody is there to be encoded or masked
        graph.pop("who")
        graph[node_of(graph, "DenseFace_PasteFace")]["inputs"].pop("mask")
    entry = server.wait(server.queue(graph))
    status = entry["status"]["status_str"]
    images = entry["outputs"].get("result", {}).get("images", [])
    if mode == "error":
        assert status == "error"
        assert "no face was found (Detect Faces)" in json.dumps(entry["status"]["messages"])
    else:
        assert status == "success" and len(images) == (mode == "pass through")
    if images:
        grey = pixels(server, images[0])
        assert (grey == 128).all()


def test_queue_of_twenty_with_two_bad_images(server: ComfyServer, shipped: Graph) -> None:
    """One of them may stop its own run, the other not even that: 18 images are finished."""
    runs = []
    for i in range(20):
        bad = {4: "error", 13: "skip"}.get(i)
        image = ("EmptyImage", EMPTY) if bad else portrait(i)
        runs.append(without_sampling(shipped, image, on_missing=bad or "error", face_index=0))
    entries = [server.wait(number) for number in [server.queue(run) for run in runs]]
    done = [bool(entry["outputs"].get("result", {}).get("images")) for entry in entries]
    assert [i for i, good in enumerate(done) if not good] == [4, 13]
    failed = [i for i, entry in enumerate(entries) if entry["status"]["status_str"] != "success"]
    assert failed == [4]
