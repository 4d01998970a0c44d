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

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
NAMES = [path.stem for path in WORKFLOWS]
BY_THEMSELVES = [path for path in WORKFLOWS if not needs_own_files(path)]


def test_there_are_workflows() -> None:
    assert {"first_portrait", "photo_faces"} < set(NAMES)
    assert [path.stem for path in WORKFLOWS if path not in BY_THEMSELVES] == [
        "arc2face_expression",
        "photo_faces",
        "real_all_controls",
        "real_dense_face",
        "real_expression_travel",
        "real_portrait",
        "real_portrait_sdxl",
        "real_swap",
        "real_turn",
    ]


@pytest.mark.parametrize("workflow", BY_THEMSELVES, ids=[path.stem for path in BY_THEMSELVES])
def test_workflow_runs(server: ComfyServer, workflow: Path) -> None:
    saved = json.loads(workflow.read_text(encoding="utf-8"))
    outputs = server.run(to_api(saved, server.get("/object_info")))
    images = [image for output in outputs.values() for image in output.get("images", [])]
    assert images, "the workflow shows no image"
    for image in images:
        assert server.view(image).startswith(b"\x89PNG")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
def test_template_has_a_thumbnail(workflow: Path) -> None:
    """The host's template browser shows the .jpg of the same name."""
    assert workflow.with_suffix(".jpg").read_bytes().startswith(b"\xff\xd8")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=NAMES)
def test_no_seed_changes_by_itself(workflow: Path) -> None:
    saved = workflow.read_text(encoding="utf-8")
    assert not [each for each in ("randomize", "increment", "decrement") if f'"{each}"' in saved]
