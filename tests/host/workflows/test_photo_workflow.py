"""The shipped workflow for photographs in a real server: detect, encode, crop, change, paste.

Needs MediaPipe's landmarker file at the path in DENSEFACE_TASK_FILE or in the host's
models/dense_face, and scikit-image's astronaut.
The face encoder has random weights: here it only matters that it is loaded and run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer, Graph
from landmarker_file import landmarker_file
from locate_host import ROOT
from PIL import Image
from random_ir_se50 import write_random_ir_se50
from ui_to_api import to_api

WORKFLOW = ROOT / "workflows" / "19 Faces of a photo.json"
SIDE = 320
"""Of an image of one person; a group is three of them side by side."""
BUSY = 1500
"""Seconds that a run may take on a machine that has other work."""


@pytest.fixture(scope="module")
def places(server: ComfyServer) -> Iterator[Path]:
    """The server's own folder with the files that the workflow needs."""
    task_file = landmarker_file()
    folder = server.base / "models" / "dense_face"
    folder.mkdir(exist_ok=True)
    files = folder / "face_landmarker.task", folder / "ir_se50.safetensors"
    shutil.copy(task_file, files[0])
    write_random_ir_se50(files[1])
    yield server.base
    for file in files:
        file.unlink()


def portrait(turn: float = 0, side: int = SIDE, mirrored: bool = False, light: int = 0) -> Any:
    """The astronaut's head, turned counter-clockwise by degrees, ``side`` pixels wide."""
    image = Image.fromarray(pytest.importorskip("skimage.data").astronaut())
    head = image.rotate(turn, center=(224, 110)).crop((84, 0, 364, 280)).resize((side, side))
    pixels = np.asarray(head).astype(int) + light
    return np.clip(pixels[:, ::-1] if mirrored else pixels, 0, 255).astype(np.uint8)


def group() -> Any:
    """Three people side by side: leaning, smaller and mirrored, leaning the other way."""
    small = np.full((SIDE, SIDE, 3), 128, np.uint8)
    small[60:280, 50:270] = portrait(side=220, mirrored=True)
    return np.concatenate([portrait(20), small, portrait(-15, light=-40)], 1)


def grey() -> Any:
    return np.full((SIDE, SIDE, 3), 128, np.uint8)


def graph_for(server: ComfyServer, pixels: Any, **changes: Any) -> Graph:
    """The workflow as shipped with this photo chosen; changes are settings of Detect Faces."""
    saved = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    graph = to_api(saved, server.get("/object_info"))
    name = f"photo_{len(list((server.base / 'input').iterdir()))}.png"
    Image.fromarray(pixels).save(server.base / "input" / name)
    for node in graph.values():
        if node["class_type"] == "LoadImage":
            node["inputs"]["image"] = name
        if node["class_type"] == "DenseFace_DetectFaces":
            node["inputs"].update(changes)
    return graph


def results(server: ComfyServer, graph: Graph, entry: dict[str, Any]) -> list[Any]:
    """The images that were saved, in 0..255."""
    (save,) = (number for number, node in graph.items() if node["class_type"] == "SaveImage")
    images = entry["outputs"].get(save, {}).get("images", [])
    return [np.asarray(Image.open(BytesIO(server.view(image)))).astype(int) for image in images]


def identities(base: Path) -> list[Path]:
    return sorted((base / "output" / "identities").glob("*.safetensors"))


def run(server: ComfyServer, graph: Graph) -> dict[str, Any]:
    return server.wait(server.queue(graph), BUSY)


def test_one_face(server: ComfyServer, places: Path) -> None:
    """Only the head becomes coarse, and the identity is kept."""
    from comfyui_dense_face.faces.identity_file import load_identities

    before, known = portrait(10), identities(places)
    graph = graph_for(server, before)
    entry = run(server, graph)
    assert entry["status"]["status_str"] == "success", entry["status"]
    (after,) = results(server, graph, entry)
    changed = np.abs(after - before).max(2)
    assert after.shape == before.shape
    assert changed[90:180, 110:210].mean() > 10, "the face is as sharp as before"
    assert not changed[:, :8].any() and not changed[-8:].any()
    (new,) = set(identities(places)) - set(known)
    (who,) = load_identities(new)
    assert who.encoder == "ir-se50" and float(who.vector.norm()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_one_of_three(server: ComfyServer, places: Path, index: int) -> None:
    before = group()
    graph = graph_for(server, before, face_index=index)
    entry = run(server, graph)
    assert entry["status"]["status_str"] == "success", entry["status"]
    (after,) = results(server, graph, entry)
    changed = np.abs(after - before).max(2)
    coarse = [changed[90:180, SIDE * k + 110 : SIDE * k + 210].mean() > 10 for k in range(3)]
    assert coarse == [k == index for k in range(3)]
    others = [k for k in range(3) if abs(k - index) == 2]
    assert not any(changed[:, SIDE * k : SIDE * (k + 1)].any() for k in others)


@pytest.mark.parametrize("mode", ["error", "skip", "pass through"])
def test_photo_without_a_face(server: ComfyServer, places: Path, mode: str) -> None:
    known = identities(places)
    graph = graph_for(server, grey(), on_missing=mode)
    entry = run(server, graph)
    after = results(server, graph, entry)
    if mode == "error":
        assert entry["status"]["status_str"] == "error"
        assert "no face was found (Detect Faces)" in json.dumps(entry["status"]["messages"])
    else:
        assert entry["status"]["status_str"] == "success", entry["status"]
    assert len(after) == (mode == "pass through")
    assert all((image == grey()).all() for image in after)
    assert identities(places) == known


def test_a_face_that_is_not_there(server: ComfyServer, places: Path) -> None:
    entry = run(server, graph_for(server, group(), face_index=3))
    assert entry["status"]["status_str"] == "error"
    message = json.dumps(entry["status"]["messages"])
    assert "face index 3 does not exist: 3 faces found" in message


def test_queue_of_twenty_with_two_bad_photos(server: ComfyServer, places: Path) -> None:
    """One of them stops its own run, the other not even that: 18 photos are finished."""
    graphs = []
    for i in range(20):
        bad = {4: "error", 13: "skip"}.get(i)
        photo = grey() if bad else portrait(3 * i - 30, mirrored=i % 2 == 1, light=-2 * i)
        graphs.append(graph_for(server, photo, on_missing=bad or "error"))
    numbers = [server.queue(graph) for graph in graphs]
    entries = [server.wait(number, BUSY) for number in numbers]
    done = [len(results(server, *pair)) == 1 for pair in zip(graphs, entries, strict=True)]
    assert [i for i, good in enumerate(done) if not good] == [4, 13]
    failed = [i for i, entry in enumerate(entries) if entry["status"]["status_str"] != "success"]
    assert failed == [4]
