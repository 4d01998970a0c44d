"""The first minute: an empty ComfyUI, the pack in a folder of any name, its first template."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from PIL import Image
from real_browser import run_script, why_no_browser

FOLDER = "dense face.v2-日本"
SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"
MOST_CLICKS = 4
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def empty_server(
    host_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComfyServer]:
    if why_no_browser():
        pytest.skip(why_no_browser())
    with ComfyServer(host_path, tmp_path_factory.mktemp("empty"), {FOLDER: ROOT}) as running:
        yield running


def test_four_clicks_to_the_first_image(
    empty_server: ComfyServer, record_property: Callable[[str, object], None]
) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    options = ("--pack", FOLDER, "--screenshots", str(SCREENSHOTS))
    visit = run_script("first_visit.mjs", empty_server.url, *options)
    record_property("seconds", visit["seconds"])  # 40 at most on two idle cores
    print(f"{visit['card']}: {len(visit['clicks'])} clicks, seconds {visit['seconds']}")
    assert len(visit["clicks"]) <= MOST_CLICKS, visit["clicks"]
    assert visit["thumbnails"] and all(width > 0 for _, width in visit["thumbnails"])
    assert visit["status"] == "success" and visit["blocked"] == []
    assert [error for error in visit["errors"] if "dense" in error] == []
    for image in _images(visit["outputs"]):
        pixels = np.asarray(Image.open(BytesIO(empty_server.view(image))))
        assert min(pixels.shape[:2]) >= 64 and pixels.std() > 10


def test_help_opens(empty_server: ComfyServer) -> None:
    """The frontend looks for it below a part of the folder's name."""
    report = run_script("help.mjs", empty_server.url, "--type", "SFSR_Apply")
    assert report["title"] == "Apply SFSR"
    assert [image for image in report["images"] if image["natural"] > 0]


def _images(outputs: dict[str, Any]) -> list[dict[str, str]]:
    found = [image for output in outputs.values() for image in output.get("images", [])]
    assert found
    return found
