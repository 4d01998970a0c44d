"""Parts of the evaluation on photographs: statistics, recognition, which face, fingerprints."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.errors import FacePackError, InputError
from comfyui_dense_face.evaluation.photos.cases import Case, cases_of
from comfyui_dense_face.evaluation.photos.fingerprints import fingerprints
from comfyui_dense_face.evaluation.photos.gallery import Gallery
from comfyui_dense_face.evaluation.photos.measure import Measure, expression_row
from comfyui_dense_face.evaluation.photos.people import Person
from comfyui_dense_face.evaluation.photos.problems import Problems
from comfyui_dense_face.evaluation.photos.summary import summarised
from comfyui_dense_face.faces.analyzers import manual_face
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.pipelines.real.scene import scene_crop
from comfyui_dense_face.sfsr.words import expression_of_word
from torch import Tensor


def identity(*values: float) -> Identity:
    return Identity.from_features(torch.tensor(values), "evaluator")


def person(name: str, *photos: Identity) -> Person:
    return Person(name, (), (), photos)


def test_everybody_counts_once() -> None:
    rows = [("a", 1.0), ("a", 0.0), ("a", 0.5), ("b", 1.0), ("c", None)]
    summary = summarised((who, {"x": value, "y": None}) for who, value in rows)
    mean = summary["x"]
    assert mean is not None and (mean.mean, mean.people) == (0.75, 2)
    assert mean.standard_error == pytest.approx(0.25)  # of 0.5 and 1
    assert summary["y"] is None
    alone = summarised([("a", {"x": 1.0})])["x"]
    assert alone is not None and alone.standard_error is None


def test_recognition_among_the_references() -> None:
    gallery = Gallery(
        [person("a", identity(1, 0, 0), identity(1, 1, 0)), person("b", identity(0, 0, 1))]
    )
    found = gallery.compare(identity(1, 0, 0), "a")
    assert found["identity_cosine"] == pytest.approx((1 + 0.5**0.5) / 2)
    assert found["identity_cosine_stranger"] == pytest.approx(0) and found["identity_top1"] == 1
    assert gallery.compare(identity(1, 0, 0), "b")["identity_top1"] == 0
    assert gallery.compare(None, "a") == {
        "identity_cosine": None, "identity_cosine_stranger": None, "identity_top1": 0.0
    }  # fmt: skip
    ceiling = gallery.ceiling()
    assert [name for name, _ in ceiling] == ["a", "a"]
    # Each photo with the other one, never with itself.
    assert [row["identity_cosine"] for _, row in ceiling] == pytest.approx([0.5**0.5] * 2)
    alone = Gallery([person("a", identity(1, 0))])
    assert alone.compare(identity(1, 0), "a")["identity_top1"] is None and not alone.ceiling()


class TwoFaces:
    """A large face at the left, a small one at the right."""

    name = "two"

    def find(self, image: Tensor) -> list[Face]:
        size = image.shape[-1], image.shape[-2]
        return [manual_face(size, box=box) for box in ((0, 20, 60, 80), (100, 40, 120, 60))]


class WhereIsIt:
    """Its identities tell the left face from the right one."""

    encoder = "evaluator"

    def identify(self, image: Tensor, face: Face) -> Identity:
        return identity(1, 0) if face.box[0] < 50 else identity(0, 1)


def test_in_a_scene_the_drawn_face_is_measured() -> None:
    image = torch.rand(3, 100, 160, generator=torch.Generator().manual_seed(0))
    scene = scene_crop(image, manual_face((160, 100), box=(95, 35, 125, 65)), 64)
    gallery = Gallery([person("left", identity(1, 0)), person("right", identity(0, 1))])
    measure = Measure(TwoFaces(), WhereIsIt(), gallery, {}, {"s": scene})
    for case, top1 in ((Case("right", "", scene="s"), 1.0), (Case("right", ""), 0.0)):
        assert measure(case, image)["identity_top1"] == top1


def test_expressions_beside_a_face_at_rest() -> None:
    target = expression_of_word("joy")
    shown = {name: value for name, value in target.named().items()}
    face = Face(**{**vars(manual_face((64, 64), box=(8, 8, 56, 56))), "blendshapes": shown})
    row = expression_row(face, target)
    assert row["expression_error"] == pytest.approx(0, abs=1e-6)
    assert row["expression_agreement"] == pytest.approx(1)
    error, rest = row["units_error"], row["units_error_rest"]
    assert error is not None and rest is not None and error < 0.6 * rest
    at_rest = Face(**{**vars(face), "blendshapes": dict.fromkeys(shown, 0.0)})
    row = expression_row(at_rest, target)
    for name in ("expression_error", "expression_agreement", "units_error"):
        assert row[name] == row[f"{name}_rest"]
    assert set(expression_row(None, target).values()) == {None}
    assert set(expression_row(face, None)) == set(row)


def test_cases_have_noise_and_files_of_their_own() -> None:
    some = cases_of(["a", "b"], ["x", "y", "x"], ["joy", None], ["s.png"])
    assert len(some) == 8
    assert len({case.noise_seed(0) for case in some} | {some[0].noise_seed(1)}) == 9
    assert len({case.file for case in some}) == 8
    assert cases_of(["b"], ["y"], [None], ["s.png"])[0].noise_seed(0) == some[-1].noise_seed(0)


def test_problems_are_raised_together() -> None:
    problems = Problems()
    problems.check()
    for what in ("one", "one", "two"):
        with problems.collect():
            raise InputError(what, where="here", fix="Change it")
    with pytest.raises(InputError, match=r"2 inputs .*1\) one \(here\): Change it; 2\) two"):
        problems.check()
    alone = Problems()
    with alone.collect():
        raise FacePackError("alone", fix="Change it")
    with pytest.raises(FacePackError, match=r"^alone\. Change it\.$"):
        alone.check()


def test_fingerprints_of_both_halves_of_fineface(tmp_path: Path) -> None:
    for half in ("attn_processors", "au_encoder"):
        (tmp_path / f"sd15_{half}.ckpt").write_text(half)
    one = {"expression_adapter": tmp_path / "sd15_au_encoder.ckpt", "base": None}
    problems = Problems()
    found = fingerprints(one, problems)
    assert found == {
        "expression_adapter": {
            f"sd15_{half}.ckpt": hashlib.sha256(half.encode()).hexdigest()
            for half in ("attn_processors", "au_encoder")
        }
    }
    fingerprints({"base": tmp_path / "nowhere", "tokenizer": tmp_path}, problems)
    with pytest.raises(FacePackError, match=r"2 inputs.*nowhere.*vocab\.json"):
        problems.check()
