"""The pack's own controls in the real frontend, in both of its renderings of nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from real_browser import run_script
from skimage import data, io

POSE, WORD = "DenseFace_PoseFromAngles", "SFSR_ExpressionFromWord"
SLIDERS, HAND = "SFSR_ExpressionFromSliders", "DenseFace_FacesByHand"
SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["classic", "vue"])
def report(request: pytest.FixtureRequest, browser_server: ComfyServer) -> dict[str, Any]:
    """What ``drag_controls.mjs`` did and saw."""
    io.imsave(browser_server.base / "input" / "astronaut.png", data.astronaut())
    SCREENSHOTS.mkdir(exist_ok=True)
    screenshot: Path = SCREENSHOTS / f"controls_{request.param}.png"
    options = ("--rendering", request.param, "--image", "astronaut.png")
    return run_script(
        "drag_controls.mjs", browser_server.url, *options, "--screenshot", str(screenshot)
    )


def test_heads_are_drawn(report: dict[str, Any]) -> None:
    assert report["heads"] == report["drawn"] == 3
    assert report["blocked"] == []
    ours = [error for error in report["errors"] if "dense" in error]
    assert ours == []


def test_dragging_turns_the_head(report: dict[str, Any]) -> None:
    angles = {name: report["turned"][name] for name in ("yaw", "pitch", "roll")}
    # To the left and up: yaw > 0 turns the nose to the left of the image, pitch > 0 raises it.
    assert angles == {"yaw": 20, "pitch": 10, "roll": 0}


def test_a_drag_can_be_undone(report: dict[str, Any]) -> None:
    """The state that the frontend has loaded shares its lists with the widgets for a moment, so
    that the first pixels of a first drag may stay."""
    first, all_ = (
        {name: step[name] for name in ("yaw", "pitch")}
        for step in (report["undone"], report["turned"])
    )
    assert all(abs(first[name]) <= abs(all_[name]) / 4 for name in first)


def test_an_everyday_word_leads_to_one_of_the_135(report: dict[str, Any]) -> None:
    assert "smile" not in report["found"] and report["found"]
    assert report["word"].endswith(f"/ {report['found'][0]}")


def test_both_sides_move_together(report: dict[str, Any]) -> None:
    moved = {name: value for name, value in report["sliders"].items() if value}
    assert moved == {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7}


def test_a_box_is_drawn_on_the_photo(report: dict[str, Any]) -> None:
    box, scale = report["box"], report["scale"]
    assert box["width"] == pytest.approx(40 * scale, abs=2)
    assert box["height"] == pytest.approx(50 * scale, abs=2)
    assert box["x"] == pytest.approx(256 - 20 * scale, abs=2)


def test_a_click_chooses_a_face(report: dict[str, Any]) -> None:
    assert report["picked"] == 0 and report["unpicked"] == -1


def test_what_is_saved_is_plain(report: dict[str, Any], browser_server: ComfyServer) -> None:
    """One value for each input, as without the controls, and the same after loading."""
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
    for name in (POSE, SLIDERS, HAND):
        kept = {"redone": POSE, "sliders": SLIDERS, "box": HAND}
        step = next(step for step, node in kept.items() if node == name)
        assert report["reloaded"][name] == report[step]
    assert report["reloaded"][WORD]["word"] == report["word"]
