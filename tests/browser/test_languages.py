"""The controls in the frontend's language; what they write stays English."""

from __future__ import annotations

import json
from typing import Any

import pytest
from comfy_server import ComfyServer
from locate_host import ROOT
from real_browser import run_script

SCREENSHOTS = ROOT / "tests" / "browser" / "screenshots"
WORD = "SFSR_ExpressionFromWord"
CASES = {"zh": ("嫉妒", "classic", "jealousy"), "fr": ("fierte", "vue", "pride")}
"""What is typed (also without accents), in which rendering, and the word that it leads to."""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=CASES)
def case(
    request: pytest.FixtureRequest, browser_server: ComfyServer
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Language, its texts, and what ``languages.mjs`` saw."""
    language: str = request.param
    typed, rendering, _ = CASES[language]
    SCREENSHOTS.mkdir(exist_ok=True)
    screenshot = SCREENSHOTS / f"controls_{language}.png"
    options = ("--locale", language, "--typed", typed, "--rendering", rendering)
    report = run_script(
        "languages.mjs", browser_server.url, *options, "--screenshot", str(screenshot)
    )
    path = ROOT / "locales" / language / "main.json"
    return language, json.loads(path.read_text(encoding="utf-8"))["denseFace"], report


def test_the_controls_are_translated(case: tuple[str, dict[str, Any], dict[str, Any]]) -> None:
    _, texts, report = case
    said = texts["controls"]
    groups = ("Brows", "Eyes", "Cheeks", "Nose", "Mouth", "Jaw")
    assert report["groups"] == [said[name] for name in groups]
    assert said["Drag to turn, with Shift to tilt"] in report["hints"]
    assert said["Run once, then click a face to choose it"] in report["hints"]
    assert report["placeholder"] == said["smile, angry, fed up …"]
    assert set(report["movements"]) <= set(texts["movements"].values())
    assert [error for error in report["errors"] if "dense" in error.lower()] == []


def test_a_translated_word_is_found_and_the_english_one_written(
    case: tuple[str, dict[str, Any], dict[str, Any]],
) -> None:
    language, texts, report = case
    word = CASES[language][-1]
    first = ("love", "happiness", "surprise", "anger", "sadness", "fear")
    assert report["primaries"] == [texts["words"][each] for each in first]
    assert report["found"] == report["caption"] == texts["words"][word]
    assert report["word"].endswith(f"/ {word}")
    (sent,) = (node for node in report["api"].values() if node["class_type"] == WORD)
    assert sent["inputs"]["word"] == report["word"]
