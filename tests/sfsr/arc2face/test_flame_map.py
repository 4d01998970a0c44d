"""The map from blendshapes to FLAME's numbers: its formula, limits and file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, ModelFileError
from comfyui_dense_face.faces.blendshapes import ARKIT_INDEX
from comfyui_dense_face.sfsr.arc2face.flame import flame_expression, flame_numbers
from comfyui_dense_face.sfsr.arc2face.flame_map import FlameMap, load_flame_map, save_flame_map
from comfyui_dense_face.sfsr.expression import from_values
from comfyui_dense_face.sfsr.words import expression_of_word
from comfyui_dense_face.storage import write_weights


def some_map(scale: float = 0.3) -> FlameMap:
    chance = torch.Generator().manual_seed(4)
    weight = scale * torch.randn(51, 53, generator=chance)
    return FlameMap(weight, 0.1 * torch.randn(53, generator=chance), {"images": "7"})


def test_it_is_linear_with_the_blinks_as_eyelids() -> None:
    made = some_map(0.01)
    face = from_values({"jawOpen": 0.5, "eyeBlinkLeft": 0.75})
    found = flame_numbers(made.expression(face))
    rows = [ARKIT_INDEX[name] for name in ("jawOpen", "eyeBlinkLeft")]
    expected = torch.tensor([0.5, 0.75]) @ made.weight[rows] + made.bias
    assert torch.allclose(found[:50], expected[:50], atol=1e-6)
    assert found[50:52].tolist() == [0.75, 0]
    assert float(found[52]) == pytest.approx(max(0.0, float(expected[50])), abs=1e-6)
    assert made.expression(face).source == "sliders by map"


@pytest.mark.parametrize("word", ["terror", "joy", "rage"])
def test_words_stay_within_what_faces_do(word: str) -> None:
    face = expression_of_word(word)
    strong = flame_numbers(some_map(5.0).expression(face))
    assert strong[:50].abs().max() == 3 and strong[52] >= 0 and strong[53:].abs().max() <= 0.2
    half = flame_numbers(some_map(5.0).expression(face, 0.5))
    assert torch.allclose(half[:50], strong[:50] / 2)


def test_what_has_no_blendshapes_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="no blendshapes"):
        some_map().expression(flame_expression(torch.zeros(55)))


def test_file(tmp_path: Path) -> None:
    path, made = tmp_path / "map.safetensors", some_map()
    save_flame_map(path, made)
    found = load_flame_map(path)
    assert torch.equal(found.weight, made.weight) and torch.equal(found.bias, made.bias)
    assert found.about["images"] == "7" and found.about["encoder"] == "smirk/em1"


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "map.safetensors"
    with pytest.raises(ModelFileError, match="missing"):
        load_flame_map(path)
    write_weights(path, {"weight": torch.zeros(1)}, {"format": "sfsr-adapter/1"})
    with pytest.raises(ModelFileError, match=r"sfsr-adapter/1.*denseface fit-flame"):
        load_flame_map(path)
    write_weights(path, {"weight": torch.zeros(51, 103)}, {"format": "sfsr-flame-map/1"})
    with pytest.raises(IncompatibleError, match=r"got \[51, 103\] and \[0\]"):
        load_flame_map(path)
