"""FLAME expressions of photos (Load SMIRK) and of words and sliders (a map)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from in_host import Tiny
from torch import Tensor

pytest.importorskip("timm")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    from random_smirk import smirk_tensors

    return smirk_tensors()


@pytest.fixture
def files(
    tiny: Tiny, weights: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """models/dense_face with SMIRK's file, models/sfsr with a map, empty models/ipadapter."""
    import folder_paths

    monkeypatch.setattr(folder_paths, "models_dir", str(tmp_path))
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", {})
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    tiny.module("nodes.host.folders").register_folders()
    torch.save(weights, tmp_path / "dense_face" / "SMIRK_em1.pt")
    torch.save({"input_layer.0.weight": torch.zeros(1)}, tmp_path / "dense_face" / "other.pt")
    maps = tiny.module("sfsr.arc2face.flame_map")
    chance = torch.Generator().manual_seed(3)
    made = maps.FlameMap(torch.randn(51, 53, generator=chance), torch.zeros(53))
    maps.save_flame_map(tmp_path / "sfsr" / "map.safetensors", made)
    return tmp_path


class OneFace:
    """Finds one face in every image, with or without blendshapes."""

    name = "test"

    def __init__(self, tiny: Tiny, shapes: dict[str, float] | None) -> None:
        self._face, self._shapes = tiny.module("faces.face").Face, shapes

    def find(self, image: Tensor) -> list[Any]:
        size, points = (image.shape[-1], image.shape[-2]), torch.zeros(0, 2)
        box = (8.0, 8.0, 56.0, 56.0)
        return [self._face(size, box, 1.0, points, "none", "test", blendshapes=self._shapes)]


def analyzer(tiny: Tiny, shapes: dict[str, float] | None = None) -> Any:
    return tiny.module("nodes.sockets").LoadedAnalyzer(None, "", OneFace(tiny, shapes))


def with_smirk(tiny: Tiny, order: str = "RGB", shapes: dict[str, float] | None = None) -> Any:
    return tiny.run("LoadSMIRK", analyzer(tiny, shapes), "first one found", order)


def photos(count: int = 2) -> Tensor:
    return torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(4))


def numbers(tiny: Tiny, expression: Any) -> Tensor:
    read = tiny.module("sfsr.arc2face.flame").flame_numbers
    return torch.stack([read(code) for code in expression.codes])


def test_the_expression_of_photos(tiny: Tiny, files: Path) -> None:
    """Numbers of each photo; they travel, and act in Arc2Face's adapter."""
    from random_smirk import random_smirk

    seen = tiny.run("ExpressionFromImage", with_smirk(tiny), photos())
    found = numbers(tiny, seen)
    assert found.shape == (2, 55) and not torch.allclose(found[0], found[1])
    crop = tiny.module("faces.encoders.smirk").face_crop
    (face,) = OneFace(tiny, None).find(photos()[0].movedim(-1, 0))
    with torch.inference_mode():
        expected = random_smirk()(crop(photos()[0].movedim(-1, 0), face)[None])[0]
    assert torch.allclose(found[0], expected, atol=1e-5)
    other = tiny.run("ExpressionFromImage", with_smirk(tiny, "BGR"), photos())
    assert not torch.allclose(numbers(tiny, other), found)
    first, last = (type(seen)((code,)) for code in seen.codes)
    way = tiny.run("ExpressionTravel", first, last, 5)
    assert torch.allclose(numbers(tiny, way)[2], found.mean(0), atol=1e-6)
    choices = ("left to right", -1, 0.0, 0, "error", False)
    faces = tiny.run("DetectFaces", with_smirk(tiny), photos(), *choices)[0]
    again = tiny.run("ExpressionOfFaces", faces)
    assert torch.equal(numbers(tiny, again), found)


def test_with_blendshapes_both_are_known(tiny: Tiny, files: Path) -> None:
    """So the same photo serves FineFace, too; without, FineFace refuses it by name."""
    both = tiny.run("ExpressionFromImage", with_smirk(tiny, shapes={"jawOpen": 0.4}), photos(1))
    assert both.codes[0].named() == {"jawOpen": pytest.approx(0.4)}
    assert numbers(tiny, both).shape == (1, 55)
    assert both.codes[0].source == "image by test and SMIRK"
    alone = tiny.run("ExpressionFromImage", with_smirk(tiny), photos(1))
    with pytest.raises(ValueError, match=r"numbers of smirk/em1 and no blendshapes"):
        alone.codes[0].blendshapes()


def test_other_analyzers_and_files(tiny: Tiny, files: Path) -> None:
    with torch.inference_mode():
        drawn = tiny.run("LoadTinyAnalyzer")
    with pytest.raises(ValueError, match="SMIRK needs faces found in photographs"):
        tiny.run("LoadSMIRK", drawn, "first one found", "RGB")
    with pytest.raises(ValueError, match=r"the file is IR-SE50, not SMIRK \(.*other\.pt\)"):
        tiny.run("LoadSMIRK", analyzer(tiny), "other.pt", "RGB")
    (files / "dense_face" / "SMIRK_em1.pt").unlink()
    import folder_paths

    folder_paths.filename_list_cache.clear()
    with pytest.raises(ValueError, match=r"the SMIRK file is missing.*georgeretsi/smirk"):
        with_smirk(tiny)
    node = tiny.module("nodes.sfsr.load_smirk").LoadSMIRK
    assert node.fingerprint_inputs(smirk_file="first one found") == ""


# ---- maps ---------------------------------------------------------------------------------------


def word(tiny: Tiny, name: str) -> Any:
    return tiny.run("ExpressionFromWord", name, 1.0, 0, 0.15)


def mapped(tiny: Tiny, expression: Any, **changes: Any) -> Any:
    inputs = {"numbers": "", "flame_map": "map.safetensors", "expression": expression, **changes}
    return tiny.run("ExpressionFromFLAME", **inputs)


def test_words_become_flame_expressions(tiny: Tiny, files: Path) -> None:
    joy, rage = mapped(tiny, word(tiny, "joy")), mapped(tiny, word(tiny, "rage"))
    assert not torch.allclose(numbers(tiny, joy), numbers(tiny, rage))
    assert numbers(tiny, joy)[:, :50].abs().max() <= 3
    half = mapped(tiny, word(tiny, "joy"), intensity=0.5)
    assert torch.allclose(numbers(tiny, half)[:, :50], numbers(tiny, joy)[:, :50] / 2)
    way = mapped(tiny, tiny.run("ExpressionTravel", word(tiny, "joy"), word(tiny, "rage"), 4))
    assert len(way) == 4
    node = tiny.module("nodes.sfsr.expression_flame").ExpressionFromFLAME
    marks = {node.fingerprint_inputs(flame_map=n) for n in ("none", "gone", "map.safetensors")}
    assert len(marks) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"expression": None}, "Connect an expression and leave numbers empty"),
        ({"numbers": "1 " * 55}, "Connect an expression and leave numbers empty"),
        ({"flame_map": "gone.safetensors"}, r"the map gone\.safetensors is missing"),
    ],
)
def test_bad_maps(tiny: Tiny, files: Path, changes: dict[str, Any], says: str) -> None:
    given = {"expression": word(tiny, "joy"), **changes}
    with pytest.raises(ValueError, match=says):
        mapped(tiny, **given)


def test_a_flame_expression_cannot_be_mapped_again(tiny: Tiny, files: Path) -> None:
    with pytest.raises(ValueError, match="and no blendshapes"):
        mapped(tiny, mapped(tiny, word(tiny, "joy")))


# ---- files --------------------------------------------------------------------------------------


def test_expressions_are_saved_and_loaded(
    tiny: Tiny, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import folder_paths

    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    folder_paths.folder_names_and_paths.pop("sfsr_expressions")
    tiny.module("nodes.host.folders").register_folders()
    node = tiny.module("nodes.sfsr.expression_files").LoadExpression
    with pytest.raises(ValueError, match="no expression is saved yet"):
        tiny.run("LoadExpression", "none yet")
    seen = tiny.run("ExpressionFromImage", with_smirk(tiny), photos())
    names = [tiny.run("SaveExpression", seen, "anna/smile") for _ in range(2)]
    assert names == ["anna/smile_00001.safetensors", "anna/smile_00002.safetensors"]
    found = tiny.run("LoadExpression", names[0])
    assert torch.equal(numbers(tiny, found), numbers(tiny, seen))
    folder_paths.filename_list_cache.clear()
    assert set(names) <= set(node.define_schema().inputs[0].options)
    assert node.fingerprint_inputs(names[0]) and node.fingerprint_inputs("gone") == ""
    for name in ("", "../away", "/away"):
        with pytest.raises(ValueError, match="cannot be saved under the name"):
            tiny.run("SaveExpression", seen, name)
