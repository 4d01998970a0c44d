"""What nodes show after a run, and the colours of links, in both renderings of nodes."""

from __future__ import annotations

from typing import Any

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from real_browser import run_script

SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"
RENDERINGS = ("classic", "vue")
ANALYZER, POSE = "#927402", "#06d2e5"
"""Of DENSEFACE_ANALYZER and DENSEFACE_POSE in ``web/js/socket_colours.js``."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=RENDERINGS)
def report(request: pytest.FixtureRequest, browser_server: ComfyServer) -> dict[str, Any]:
    """What ``see_results.mjs`` saw."""
    SCREENSHOTS.mkdir(exist_ok=True)
    screenshot = SCREENSHOTS / f"results_{request.param}.png"
    options = ["--rendering", request.param, "--seed", str(RENDERINGS.index(request.param) + 1)]
    return run_script(
        "see_results.mjs", browser_server.url, *options, "--screenshot", str(screenshot)
    )


def test_nothing_is_wrong_in_the_console(report: dict[str, Any]) -> None:
    assert report["blocked"] == []
    assert [error for error in report["errors"] if "dense" in error.lower()] == []


def test_likeness_is_a_bar_for_each_recogniser_and_image(report: dict[str, Any]) -> None:
    by_two, of_two = report["results"][:2]
    assert [bar["name"].split(":")[0] for bar in by_two["bars"]] == [
        "tiny-world",
        "tiny-world-evaluator",
    ]
    same, other = of_two["bars"]
    assert same["name"].startswith("image 1: 0.") and same["name"].endswith("— same person")
    assert other["name"].startswith("image 2: ") and other["name"].endswith("— another person")
    for bar in (same, *by_two["bars"]):
        assert bar["mark"] == "55%" and bar["value"] > 0.55
        assert bar["width"] == pytest.approx(bar["value"], abs=0.01)
    assert of_two["text"].startswith("likeness ")


def test_every_measure_node_shows_its_result(report: dict[str, Any]) -> None:
    words = [result["bars"][0]["name"] for result in report["results"][2:]]
    assert [each.split()[-1] for each in words] == ["off", "agreement", "changed"]


def test_before_and_after_are_compared_by_a_line(report: dict[str, Any]) -> None:
    compared = report["compared"]
    assert compared["at"] == pytest.approx(75, abs=5) and compared["widths"] == [128, 128]
    assert sorted(compared["nodes"]) == sorted(report["places"]), "a node was dragged instead"


def test_results_are_there_after_undo(report: dict[str, Any]) -> None:
    assert report["undone"] == report["results"]


def test_quick_portrait_shows_the_portrait(
    report: dict[str, Any], browser_server: ComfyServer
) -> None:
    quick, behind = (report["outputs"][report["ids"][name]] for name in ("quick", "portrait"))
    assert len(quick["images"]) == 1
    shown, image = (browser_server.view(each["images"][0]) for each in (quick, behind))
    assert shown == image


@pytest.mark.parametrize("palette", ["links", "lightLinks"])
def test_links_have_the_colours_of_their_types(report: dict[str, Any], palette: str) -> None:
    assert POSE in report[palette]["DENSEFACE_POSE"]
    if palette == "links":
        assert ANALYZER in report[palette]["DENSEFACE_ANALYZER"]


def test_sockets_have_the_colours_of_their_types(report: dict[str, Any]) -> None:
    if report["rendering"] == "classic":
        return  # drawn, like links
    for dots in (report["dots"], report["lightDots"]):
        assert dots[report["ids"]["analyzer"]] == ["rgb(146, 116, 2)"]
        assert "rgb(6, 210, 229)" in dots[report["ids"]["pose"]]
