"""The texts of the controls in ``web/js``: written to the English locale, and none left out of it.

After a change write it anew with ``make locales``; then every other language needs the new texts.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from comfyui_dense_face.faces.blendshapes import ARKIT_NAMES
from comfyui_dense_face.sfsr.emotion_table import emotion_words
from locate_host import ROOT

JS = ROOT / "web" / "js"
LOCALE = ROOT / "locales" / "en" / "main.json"
TEXT = re.compile(r'\btext\(\s*"([^"]+)"')
MOVEMENT = re.compile(r'^  (\w+): "([^"]+)",$', re.MULTILINE)
SHOWN = re.compile(
    r"(?:textContent|placeholder|ariaLabel|title|alt)(?:: | = )"
    r"""(?:"([A-Za-z][^"]*)"|`([A-Za-z][^`]*)`)"""
)
"""Literals that would be shown in English in every language."""


def scripts() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(JS.glob("*.js"))}


def movements() -> dict[str, str]:
    table = scripts()["movements.js"].split("const MOVEMENTS = {")[1].split("};")[0]
    return dict(MOVEMENT.findall(table))


def english() -> dict[str, Any]:
    controls = {each: each for source in scripts().values() for each in TEXT.findall(source)}
    words = {word: word for word in emotion_words()}
    return {"denseFace": {"controls": controls, "movements": movements(), "words": words}}


def test_english_locale_of_the_controls_is_generated(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--rewrite-locale"):
        text = json.dumps(english(), indent=1, ensure_ascii=False)
        LOCALE.write_text(text + "\n", encoding="utf-8")
    assert json.loads(LOCALE.read_text(encoding="utf-8")) == english(), "run make locales"


def test_all_that_is_shown_can_be_translated() -> None:
    found = {
        f"{name}: {''.join(each)}"
        for name, source in scripts().items()
        for each in SHOWN.findall(source)
    }
    assert found == set()


def test_every_blendshape_has_a_name() -> None:
    sided = {re.sub(r"(Left|Right)$", "", name) for name in ARKIT_NAMES}
    named = set(movements())
    missing = {
        name
        for name in ARKIT_NAMES
        if name not in named and re.sub(r"(Left|Right)$", "", name) not in named
    }
    assert missing == set()
    assert named - sided - set(ARKIT_NAMES) == {"eyesLeft", "eyesRight"}
