"""The sheet of all emotion words, and its heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.demo import word_sheet as module
from comfyui_dense_face.demo.expression_heads import expression_heads, expression_images
from comfyui_dense_face.sfsr.emotion_table import emotion_words
from comfyui_dense_face.sfsr.words import expression_of_word
from PIL import Image


def test_heads_differ_by_expression_alone() -> None:
    codes = torch.stack([expression_of_word(word).face() for word in ("joy", "grief")])
    heads = expression_heads(codes, person=3)
    assert torch.equal(heads.identity[0], heads.identity[1]) and not heads.angles.any()
    assert torch.equal(heads.expression, codes)
    images = expression_images(codes, 3, 48)
    assert images.shape == (2, 3, 48, 48)
    differs = (images[0] != images[1]).any(0)
    assert bool(differs.any()) and not bool(differs[:, :6].any())  # the plain background


def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    some = {word: emotion_words()[word] for word in ("love", "joy", "bliss", "terror")}
    monkeypatch.setattr(module, "emotion_words", lambda: some)


def test_every_word_once_in_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    few_words(monkeypatch)
    drawn: list[Any] = []
    sheet = module.word_sheet(32, each=lambda: drawn.append(None))
    assert len(drawn) == 4
    # Three groups, each a heading and a row.
    assert sheet.size == (2 * 8 + 12 * 32, 8 + 3 * (24 + 32 + 14))


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few_words(monkeypatch)
    out = tmp_path / "words.png"
    assert cli.main(["render", "words", "--size", "32", "--out", str(out)]) == 0
    with Image.open(out) as sheet:
        assert len(np.unique(np.asarray(sheet.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    assert str(out) in capsys.readouterr().out
    for wrong in (["--size", "16"], ["--intensity", "1.6"], ["--out", str(tmp_path / "a.doc")]):
        words = ["render", "words", "--out", str(tmp_path / "b.png"), *wrong]
        assert cli.main(words) == 2
    assert list(tmp_path.iterdir()) == [out]
