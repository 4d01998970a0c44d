"""Every language has every text of nodes and controls, and none has lost a file or a number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from locate_host import ROOT

LOCALES = ROOT / "locales"
FILES = ("nodeDefs.json", "main.json")
"""The nodes, and the controls of ``web/js``."""
LANGUAGES = ("zh", "ja", "ko", "fr", "de", "es", "ru")
KEPT = re.compile(
    r"\{\w+\}|models/[\w/<>]+|[\w-]+\.(?:safetensors|onnx|task|bin|json|yaml|pth)\b|\d+(?:\.\d+)?",
    re.ASCII,
)
"""What stays as it is in every language."""


def _texts(
    tree: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _texts(value, (*path, key))
        else:
            yield (*path, key), value


def _read(language: str) -> dict[tuple[str, ...], str]:
    trees = {
        name: json.loads((LOCALES / language / name).read_text(encoding="utf-8")) for name in FILES
    }
    return dict(_texts(trees))


def test_these_are_the_languages() -> None:
    assert {path.name for path in LOCALES.iterdir()} == {"en", *LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_missing(language: str) -> None:
    english, translated = _read("en"), _read(language)
    assert list(translated) == list(english)
    assert [path for path, text in translated.items() if not text.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_files_and_numbers_stay(language: str) -> None:
    english, translated = _read("en"), _read(language)
    lost = {
        "/".join(path): missing
        for path, text in english.items()
        if (missing := _kept(text) - _kept(translated[path]))
    }
    assert lost == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_a_translation(language: str) -> None:
    """Descriptions, tooltips and what the controls say are sentences: none stays as it was."""
    english, translated = _read("en"), _read(language)
    same = [
        path
        for path, text in english.items()
        if {path[-1], path[-2]} & {"description", "tooltip", "controls"}
        and translated[path] == text
    ]
    assert same == []


@pytest.mark.parametrize("kind", ["display_name", "words"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_nodes_and_words_can_be_told_apart(language: str, kind: str) -> None:
    names = [text.lower() for path, text in _read(language).items() if kind in path[-2:]]
    assert names and sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("language", LANGUAGES)
def test_movements_of_a_part_can_be_told_apart(language: str) -> None:
    """Those of one group of sliders; the same label would be one slider."""
    labels = [
        (re.match(r"[a-z]+?(?=s?[A-Z])", path[-1]), text)
        for path, text in _read(language).items()
        if path[-2] == "movements"
    ]
    named = [(group[0], text) for group, text in labels if group]
    assert len(named) == len(labels) and sorted(set(named)) == sorted(named)


def _kept(text: str) -> set[str]:
    # 1,000 and 1.5 are written in other ways elsewhere.
    return {found.replace(",", ".") for found in KEPT.findall(text.replace(",", "."))}
