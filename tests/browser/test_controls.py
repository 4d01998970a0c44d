"""The pack's own controls in the real frontend: in both of its renderings of nodes, with a mouse,
and with fingers on a narrow screen without WebGL.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from PIL import Image
from real_browser import run_script
from skimage import data, io

POSE, WORD = "DenseFace_PoseFromAngles", "SFSR_ExpressionFromWord"
SLIDERS, HAND = "SFSR_ExpressionFromSliders", "DenseFace_FacesByHand"
SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"
CONTROLS = (
    "head", "head of Quick Portrait", "word", "primary", "slider", "box", "picker",
)  # fmt: skip
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["classic", "vue"])
def rendering(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=["mouse", "touch"])
def report(
    request: pytest.FixtureRequest, rendering: str, browser_server: ComfyServer
) -> dict[str, Any]:
    """What ``controls.mjs`` did and saw."""
    io.imsave(browser_server.base / "input" / "astronaut.png", data.astronaut())
    SCREENSHOTS.mkdir(exist_ok=True)
    options = ("--rendering", rendering, "--pointer", request.param, "--image", "astronaut.png")
    return {"pointer": request.param} | run_script(
        "controls.mjs", browser_server.url, *options, "--screenshots", str(SCREENSHOTS)
    )


def changed(report: dict[str, Any], control: str) -> dict[str, Any]:
    """The widgets that a control has changed, as they are then."""
    steps = report["controls"][control]
    before, acted = steps["before"], steps["acted"]
    return {name: value for name, value in acted.items() if before[name] != value}


def test_heads_are_drawn(report: dict[str, Any]) -> None:
    assert report["heads"] == report["drawn"] == 4
    assert report["webgl"] == (report["pointer"] == "mouse")
    assert report["blocked"] == []
    ours = [error for error in report["errors"] if "dense" in error]
    assert ours == []


@pytest.mark.parametrize(
    ("control", "start"), [("head", (0, 0)), ("head of Quick Portrait", (25, 0))]
)
def test_dragging_turns_the_head(
    report: dict[str, Any], control: str, start: tuple[float, float]
) -> None:
    # To the left and up: yaw > 0 turns the nose to the left of the image, pitch > 0 raises it.
    yaw, pitch = start
    assert changed(report, control) == {"yaw": yaw + 20, "pitch": pitch + 10}


def test_an_everyday_word_leads_to_one_of_the_135(report: dict[str, Any]) -> None:
    found = changed(report, "word")["word"]
    assert found.startswith("joy / ") and "smile" not in found
    assert changed(report, "primary") == {"word": "surprise / surprise"}


def test_both_sides_move_together(report: dict[str, Any]) -> None:
    moved = changed(report, "slider")
    assert set(moved) == {"mouthSmileLeft", "mouthSmileRight"}
    assert 0.4 < moved["mouthSmileLeft"] == moved["mouthSmileRight"] < 0.7


def test_a_box_is_drawn_on_the_photo(report: dict[str, Any]) -> None:
    box = changed(report, "box")
    assert box["height"] / box["width"] == pytest.approx(50 / 40, abs=0.03)
    scale = box["width"] / 40
    assert box["x"] == pytest.approx(256 - 20 * scale, abs=3)
    assert box["y"] == pytest.approx(256 - 20 * scale, abs=3)


def test_a_face_is_chosen_where_it_is(report: dict[str, Any]) -> None:
    assert changed(report, "picker") == {"face_index": 0}
    width, height = report["face"]
    assert width > 0.3 and height > 0.4, "the place to click is smaller than the face"


@pytest.mark.parametrize("control", CONTROLS)
def test_undo_redo_copy_save_and_reload(report: dict[str, Any], control: str) -> None:
    steps = report["controls"][control]
    assert steps["undone"] == steps["before"]
    assert steps["redone"] == steps["acted"]
    last = report["controls"]["primary" if control == "word" else control]["redone"]
    assert steps["copied"] == steps["reloaded"] == last


def test_what_is_saved_is_plain(report: dict[str, Any], browser_server: ComfyServer) -> None:
    """One value for each input, as without the controls."""
    described = browser_server.get("/object_info")
    for node in report["saved"]["nodes"]:
        if node["type"] not in (POSE, WORD, SLIDERS, HAND):
            continue
        inputs = {**described[node["type"]]["input"]["required"]}
        inputs |= described[node["type"]]["input"].get("optional", {})
        sent = report["api"][str(node["id"])]["inputs"]
        assert set(sent) <= set(inputs)
        values = node["widgets_values"]
        assert all(isinstance(value, int | float | str | bool) for value in values)


def test_the_api_draws_the_same_images(report: dict[str, Any], browser_server: ComfyServer) -> None:
    """The graph of the browser, sent by a script to a server that remembers nothing of it."""
    shown = {node: _pixels(browser_server, images) for node, images in report["images"].items()}
    browser_server.free()
    outputs = browser_server.run(report["api"])
    again = {node: _pixels(browser_server, outputs[node]["images"]) for node in shown}
    assert len(shown) == 6
    for node, pixels in shown.items():
        assert np.array_equal(again[node], pixels), report["api"][node]["class_type"]


def _pixels(server: ComfyServer, images: list[dict[str, str]]) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(server.view(images[-1]))))
