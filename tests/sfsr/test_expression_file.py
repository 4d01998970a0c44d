"""Saved expressions come back as they were; other files are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, InputError, ModelFileError
from comfyui_dense_face.sfsr.algebra import blend
from comfyui_dense_face.sfsr.arc2face.flame import flame_expression
from comfyui_dense_face.sfsr.expression import Expression
from comfyui_dense_face.sfsr.expression_file import load_expressions, save_expressions
from comfyui_dense_face.sfsr.words import expression_of_word
from comfyui_dense_face.storage import read_weights, write_weights


def both(seed: int = 0) -> Expression:
    """Some blendshapes known, and FLAME's numbers."""
    chance = torch.Generator().manual_seed(seed)
    known = torch.rand(51, generator=chance) > 0.5
    values, numbers = torch.rand(51, generator=chance), torch.rand(55, generator=chance) / 10
    return Expression(values, "photo", known, numbers, "smirk/em1")


def word(name: str) -> Expression:
    return expression_of_word(name)


CASES: dict[str, Callable[[], list[Expression]]] = {
    "words": lambda: [word("joy"), blend([word("rage"), word("fear")], [1, 2])],
    "a photo": lambda: [both()],
    "FLAME": lambda: [flame_expression(torch.zeros(55)), both(1)],
}


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    given, path = CASES[name](), tmp_path / "a.safetensors"
    save_expressions(path, given)
    found = load_expressions(path)
    assert len(found) == len(given)
    for one, other in zip(given, found, strict=True):
        assert torch.equal(one.values, other.values) and torch.equal(one.known, other.known)
        assert (one.source, one.encoder) == (other.source, other.encoder)
        assert (one.learned is None) == (other.learned is None)
        if one.learned is not None and other.learned is not None:
            assert torch.equal(one.learned, other.learned)
        assert (one.units is None) == (other.units is None)
        if one.units is not None and other.units is not None:
            assert torch.equal(one.units.values, other.units.values)
            assert one.units.lost == other.units.lost


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match="no expression was given"):
        save_expressions(path, [])
    with pytest.raises(InputError, match="only some of the expressions"):
        save_expressions(path, [both(), word("joy")])
    other = Expression(torch.zeros(51), "test", learned=torch.zeros(55), encoder="other")
    with pytest.raises(IncompatibleError, match="other"):
        save_expressions(path, [both(), other])
    assert not path.exists()


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_expressions(path, [both(), both(1)])
    tensors, about = read_weights(path)
    for name, broken in (
        ("values", tensors["values"][:1]),
        ("values", tensors["values"][:, :50]),
        ("values", tensors["values"] + float("nan")),
        ("learned", tensors["learned"][..., None]),
        ("units", tensors["units"] + 9),
    ):
        changed = {**tensors, name: broken, "has_units": torch.tensor([True, True])}
        write_weights(path, changed, about)
        with pytest.raises(ModelFileError, match="no expressions that can be used"):
            load_expressions(path)
    write_weights(path, tensors, {**about, "sources": "[]", "lost": "[]"})
    with pytest.raises(ModelFileError, match="0 expressions"):
        load_expressions(path)
    write_weights(path, tensors, {**about, "format": "denseface-identity/1"})
    with pytest.raises(ModelFileError, match="denseface-identity/1"):
        load_expressions(path)
