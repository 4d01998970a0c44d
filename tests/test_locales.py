"""Every language has every text of the nodes, and none has lost a file, a folder or a number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from locate_host import ROOT

LOCALES = ROOT / "locales"
LANGUAGES = ("zh", "ja", "ko", "fr", "de", "es", "ru")
KEPT = re.compile(
    r"models/[\w/<>]+|[\w-]+\.(?:safetensors|onnx|task|bin|json|yaml|pth)\b|\d+(?:\.\d+)?",
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
    path = LOCALES / language / "nodeDefs.json"
    return dict(_texts(json.loads(path.read_text(encoding="utf-8"))))


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
    """Descriptions and tooltips are sentences: none stays as it was."""
    english, translated = _read("en"), _read(language)
    same = [
        path
        for path, text in english.items()
        if path[-1] in {"description", "tooltip"} and translated[path] == text
    ]
    assert same == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_nodes_can_be_told_apart(language: str) -> None:
    names = [text for path, text in _read(language).items() if path[-1] == "display_name"]
    assert sorted(set(names)) == sorted(names)


def _kept(text: str) -> set[str]:
    # 1,000 and 1.5 are written in other ways elsewhere.
    return {found.replace(",", ".") for found in KEPT.findall(text.replace(",", "."))}
