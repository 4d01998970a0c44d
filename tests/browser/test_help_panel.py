"""A node's help with its image, in the frontend's own panel."""

from __future__ import annotations

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from real_browser import run_script

SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"
pytestmark = pytest.mark.slow


def test_the_image_is_shown(browser_server: ComfyServer) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    options = ("--type", "SFSR_Apply", "--screenshot", str(SCREENSHOTS / "help.png"))
    report = run_script("help.mjs", browser_server.url, *options)
    assert report["title"] == "Apply SFSR"
    (image,) = report["images"]
    assert image["path"].endswith("/docs/images/SFSR_Apply.webp") and image["alt"]
    assert image["natural"] > 0 and 0 < image["shown"] <= image["panel"]
    # The frontend looks for a page of its language first.
    ours = [error for error in report["errors"] if "dense" in error.lower()]
    assert all(error.endswith("/en.md") for error in ours), ours
