"""Every shipped workflow runs as shipped in a real server, through its API, to an image.

Those that read the user's own files have tests that bring some (``test_photo_workflow.py``,
``test_own_files.py``, ``test_sdxl_workflow.py``).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from own_files import needs_own_files
from ui_to_api import to_api
from watched_run import watched_run

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
NAMES = [path.stem for path in WORKFLOWS]
TEXT_ONLY = {
    "DenseFace_MeasureLikeness", "DenseFace_MeasurePose", "DenseFace_MeasureExpression",
    "DenseFace_MeasureChange", "DenseFace_SaveIdentity", "SFSR_SaveExpression",
    "PreviewAny",
}  # fmt: skip
"""Output nodes that show no image."""
BY_THEMSELVES = [path for path in WORKFLOWS if not needs_own_files(path)]


def test_there_are_workflows() -> None:
    assert {"01 First portrait", "19 Faces of a photo"} < set(NAMES)
    # The numbers of the cards say which run at once.
    assert [path.stem[0] for path in BY_THEMSELVES] == ["0"] * len(BY_THEMSELVES)
    assert all(path.stem[0] == "1" for path in WORKFLOWS if path not in BY_THEMSELVES)


@pytest.mark.parametrize("workflow", BY_THEMSELVES, ids=[path.stem for path in BY_THEMSELVES])
def test_workflow_runs(server: ComfyServer, workflow: Path) -> None:
    """Each of its nodes runs, and each that shows images shows some."""
    described = server.get("/object_info")
    graph = to_api(json.loads(workflow.read_text(encoding="utf-8")), described)
    run = watched_run(server, graph)
    entry, ran = run.entry, run.ran
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    idle = {graph[number]["class_type"] for number in graph.keys() - ran}
    assert not idle
    shown = {
        number: entry["outputs"].get(number, {}).get("images", [])
        for number, node in graph.items()
        if described[node["class_type"]]["output_node"] and node["class_type"] not in TEXT_ONLY
    }
    assert shown and all(shown.values()), [n for n, images in shown.items() if not images]
    for image in (image for images in shown.values() for image in images):
        assert server.view(image).startswith(b"\x89PNG")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
def test_template_has_a_thumbnail(workflow: Path) -> None:
    """The host's template browser shows the .jpg of the same name."""
    assert workflow.with_suffix(".jpg").read_bytes().startswith(b"\xff\xd8")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
def test_no_seed_changes_by_itself(workflow: Path) -> None:
    saved = workflow.read_text(encoding="utf-8")
    assert not [each for each in ("randomize", "increment", "decrement") if f'"{each}"' in saved]


def test_blueprints_are_offered_and_one_runs(server: ComfyServer) -> None:
    """The others are subgraphs of the templates for the user's own files."""
    listed = server.get("/global_subgraphs")
    ours = {entry["name"] for entry in listed.values() if "dense" in entry["info"]["node_pack"]}
    assert ours == {path.stem for path in (ROOT / "subgraphs").glob("*.json")}
    saved = json.loads((ROOT / "subgraphs" / "Annotate while Sampling.json").read_text("utf-8"))
    graph = to_api(saved, server.get("/object_info"))
    (image,) = (number for number, node in graph.items() if node["class_type"] == "ImageScaleBy")
    graph["shown"] = {"class_type": "PreviewImage", "inputs": {"images": [image, 0]}}
    (made,) = server.run(graph)["shown"]["images"]
    assert server.view(made).startswith(b"\x89PNG")
