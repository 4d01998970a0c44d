"""The pack's subgraphs in the frontend's node library."""

from __future__ import annotations

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from real_browser import run_script

NAMES = [path.stem for path in sorted((ROOT / "subgraphs").glob("*.json"))]


@pytest.mark.slow
def test_they_are_found_and_can_be_added(browser_server: ComfyServer) -> None:
    report = run_script("blueprints.mjs", browser_server.url, "--names", "|".join(NAMES))
    assert report["listed"] == NAMES
    assert report["complaints"] == []
    (node,) = report["added"]
    assert "DenseFace_SampleAnnotated" in node["inside"]
    assert node["widgets"] == ["text", "seed", "starts at"]
