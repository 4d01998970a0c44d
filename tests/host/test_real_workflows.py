"""The templates for files of one's own: what they name, how they lie, and one of them run.

``real_swap`` runs in a real server with files of the published layouts at full size and random
values: that the rest of the photograph stays, and that something is drawn, needs no real weights.
"""

from __future__ import annotations

import json
from io import BytesIO
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer
from landmarker_file import landmarker_file
from locate_host import ROOT
from PIL import Image
from ui_to_api import to_api

WORKFLOWS = sorted((ROOT / "workflows").glob("real_*.json"))
NAMES = [path.stem for path in WORKFLOWS]
TITLE = 34
"""Height of a node's title, above its position."""
PUBLISHED = {"CheckpointLoaderSimple", "SFSR_LoadAdapter", "DenseFace_LoadAdapter"}
SECONDS = 1500
HEAD = slice(10, 230), slice(130, 330)
"""Rows and columns of the astronaut's head."""


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
    assert f"--for {workflow.stem}`" in note


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


@pytest.mark.slow
def test_swap_leaves_the_rest_of_a_photograph(server: ComfyServer) -> None:
    pytest.importorskip("insightface")
    pytest.importorskip("onnx")
    from full_size_files import write_published, write_sd15
    from tiny_onnx import write_recogniser

    astronaut = pytest.importorskip("skimage.data").astronaut()
    models = server.base / "models"
    pack = models / "insightface" / "models" / "buffalo_l"
    for folder in (pack, models / "ipadapter", models / "checkpoints", models / "dense_face"):
        folder.mkdir(parents=True, exist_ok=True)
    faceid, units = "ip-adapter-faceid_sd15", ("sd15_attn_processors", "sd15_au_encoder")
    files = [
        write_sd15(models / "checkpoints" / "random_inpainting.safetensors", inpainting=True),
        write_published(models / "ipadapter" / f"{faceid}.bin", "faceid", faceid, legacy=True),
        *(
            write_published(models / "ipadapter" / f"{name}.ckpt", "fineface", name)
            for name in units
        ),
    ]
    write_recogniser(pack / "w600k_r50.onnx")
    (models / "dense_face" / "face_landmarker.task").write_bytes(landmarker_file().read_bytes())
    Image.fromarray(astronaut).save(server.base / "input" / "astronaut.png")
    graph = to_api(saved(ROOT / "workflows" / "real_swap.json"), server.get("/object_info"))
    (save,) = (number for number, node in graph.items() if node["class_type"] == "SaveImage")
    changes = {
        "LoadImage": {"image": "astronaut.png"},
        "CheckpointLoaderSimple": {"ckpt_name": files[0].name},
        "KSampler": {"steps": 2},
        "DenseFace_CropFace": {"size": 256},
        # The landmarker finds the faces: of InsightFace there is only a recogniser.
        "DenseFace_LoadAnalyzer": {"finder": "landmarker"},
        "DenseFace_EncodeIdentity": {"analyzer": ["encoder", 0]},
    }
    for node in graph.values():
        node["inputs"].update(changes.get(node["class_type"], {}))
    (finder,) = (n for n, node in graph.items() if node["class_type"] == "DenseFace_LoadAnalyzer")
    graph["encoder"] = {
        "class_type": "DenseFace_LoadEncoder",
        "inputs": {
            "analyzer": [finder, 0],
            "encoder": "insightface",
            "ir_se50_file": "first one found",
            "insightface_pack": "buffalo_l",
            "channel_order": "RGB",
            "alignment": "five points",
        },
    }
    try:
        entry = server.wait(server.queue(graph), SECONDS)
        assert entry["status"]["status_str"] == "success", entry["status"]
        (image,) = entry["outputs"][save]["images"]
    finally:
        for file in files:
            file.unlink()
    after = np.asarray(Image.open(BytesIO(server.view(image)))).astype(int)
    changed = np.abs(after - astronaut).max(2) > 0
    assert changed[HEAD].mean() > 0.1
    changed[HEAD] = False
    assert not changed.any()
