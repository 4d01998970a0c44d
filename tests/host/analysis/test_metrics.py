"""Metric nodes on heads whose truth is known, and on batches with bad images."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import pytest
import torch
from in_host import Tiny
from locate_host import ROOT
from torch import Tensor


@pytest.fixture(scope="module")
def analyzer(tiny: Tiny) -> Any:
    """The bundled one, trained."""
    return tiny.run("LoadTinyAnalyzer")


@pytest.fixture(scope="module")
def evaluator(tiny: Tiny) -> Any:
    return tiny.run("LoadTinyEvaluator")


def portrait(tiny: Tiny, person: int, scene: int = 3, yaw: float = 0.0) -> Tensor:
    return tiny.run("TinyPortrait", person, scene, yaw, 0.0, 0.0, 128)[0]


def number(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found.group(1))


#: The settings of Detect Faces that take the one in the middle of three.
WHO = ("left to right", 1, 0.0, 0, "error", True)
EMPTY = torch.full((1, 128, 128, 3), 0.5)


def test_the_same_person_is_more_similar_than_another(
    tiny: Tiny, analyzer: Any, evaluator: Any
) -> None:
    reference = portrait(tiny, 2)
    same, _, none = tiny.run("MeasureLikeness", analyzer, portrait(tiny, 2, 8, 20.0), reference)
    other, text, by_evaluator = tiny.run(
        "MeasureLikeness", analyzer, portrait(tiny, 7, 8, 20.0), reference, evaluator
    )
    assert same > 0.5 > other and math.isnan(none)
    assert number(text, r"^likeness (\S+) by tiny-world;") == pytest.approx(other, abs=0.006)
    assert number(text, r"independently likeness (\S+) by tiny-world-evaluator$") == pytest.approx(
        by_evaluator, abs=0.006
    )
    row = torch.cat([portrait(tiny, 7), reference, portrait(tiny, 9)], 2)
    cut, *_ = tiny.run("CropFace", tiny.run("DetectFaces", analyzer, row, *WHO)[0], row, 128, 0.2)
    itself, *_ = tiny.run("MeasureLikeness", evaluator, cut, reference)
    assert itself > 0.7
    with pytest.raises(ValueError, match=r"both recognisers are 'tiny-world' \(Measure Likeness\)"):
        tiny.run("MeasureLikeness", analyzer, reference, reference, analyzer)


def bars(tiny: Tiny, node: str, *args: Any) -> list[dict[str, Any]]:
    return tiny.shown(node, *args)["measured_bars"]


def test_likeness_is_also_a_bar(tiny: Tiny, analyzer: Any, evaluator: Any) -> None:
    reference, other = portrait(tiny, 2), portrait(tiny, 7)
    value, text, _ = tiny.run("MeasureLikeness", analyzer, reference, reference)
    shown = tiny.shown("MeasureLikeness", analyzer, reference, reference)
    assert shown["text"] == (text,) and value == pytest.approx(1)
    (bar,) = shown["measured_bars"]
    assert bar["fraction"] == pytest.approx(1, abs=1e-4)
    assert (bar["number"], bar["meaning"], bar["mark"]) == ("1.00", "same person", 0.55)
    assert bar["image"] is None and bar["by"] == ""
    batch = torch.cat([reference, EMPTY, other])
    first, third = bars(tiny, "MeasureLikeness", analyzer, batch, reference)
    assert (first["image"], third["image"]) == (1, 3)
    assert third["meaning"] == "another person" and 0 <= third["fraction"] < 0.55
    by_two = bars(tiny, "MeasureLikeness", analyzer, batch, reference, evaluator)
    assert [(bar["by"], bar["image"]) for bar in by_two] == [
        (encoder, image) for encoder in ("tiny-world", "tiny-world-evaluator") for image in (1, 3)
    ]


def test_thresholds_of_recognisers(tiny: Tiny) -> None:
    known = tiny.module("nodes.analysis.same_person").same_person_from
    assert known("opencv/sface") == 0.363
    assert known("insightface/buffalo_l") == known("insightface/w600k_r50") == 0.28
    assert known("insightface/glintr100") is None
    assert tiny.module("nodes.analysis.measure_likeness")._meaning(0.4, None) == ""


def test_other_results_are_bars_too(tiny: Tiny, analyzer: Any) -> None:
    one, other = portrait(tiny, 2, 3), portrait(tiny, 2, 11)
    both = torch.cat([one, other])
    exact, different = bars(tiny, "MeasureExpression", analyzer, both, one)
    assert exact["fraction"] == pytest.approx(1, abs=1e-4) and exact["number"] == "1.00"
    assert different["image"] == 2 and different["fraction"] < 1
    assert different["meaning"] == "agreement"
    poses = tiny.run("PoseFromAngles", 90.0, 0.0, 0.0, 64)[0]
    (bar,) = bars(tiny, "MeasurePose", analyzer, one, poses)
    assert bar["meaning"] == "off"
    assert bar["fraction"] == pytest.approx(float(bar["number"].rstrip("°")) / 45, abs=0.01)
    assert bars(tiny, "MeasureChange", one, one)[0]["number"] == "0.0%"
    after = one.clone()
    after[:, :64] = 1 - after[:, :64]
    assert bars(tiny, "MeasureChange", one, after)[0]["fraction"] == pytest.approx(0.5, abs=0.01)
    shown = tiny.shown("MeasureChange", one, both.repeat(5, 1, 1, 1))
    assert (len(shown["before"]), len(shown["after"])) == (1, 8) and "images" not in shown


def test_meanings_are_those_of_the_frontend(tiny: Tiny) -> None:
    script = (ROOT / "web" / "js" / "results.js").read_text(encoding="utf-8")
    table = script.split("const MEANINGS = {")[1].split("};")[0]
    known = set(re.findall(r'^  "?([a-z ]+)"?: ', table, re.MULTILINE))
    nodes = [tiny.module(f"nodes.analysis.measure_{n}") for n in ("likeness", "face", "change")]
    sources = "".join(inspect.getsource(node) for node in nodes)
    assert len(known) == 5 and all(f'"{meaning}"' in sources for meaning in known)


def test_batches_with_bad_images_are_measured_without_them(tiny: Tiny, analyzer: Any) -> None:
    reference = portrait(tiny, 2)
    batch = torch.cat([reference, EMPTY, portrait(tiny, 2, 8)])
    value, text, _ = tiny.run("MeasureLikeness", analyzer, batch, reference)
    low = number(text, r"\((\S+) to 1\.00\)")
    assert value == pytest.approx((1 + low) / 2, abs=0.01)
    assert text.endswith("2 of 3 images with a face, 2 faces; image 2: no face was found")
    with pytest.raises(ValueError, match=r"no face was found \(Measure Likeness\)\. Use an image"):
        tiny.run("MeasureLikeness", analyzer, EMPTY, reference)


def test_pose_of_a_render_is_its_target(tiny: Tiny, analyzer: Any) -> None:
    image, _, pose = tiny.run("TinyPortrait", 2, 3, 25.0, 5.0, -10.0, 128)
    error, text = tiny.run("MeasurePose", analyzer, image, pose)
    assert error < 6
    other, text = tiny.run("MeasurePose", analyzer, portrait(tiny, 2, 3, -25.0), pose)
    assert number(text, r"yaw (\S+),") == pytest.approx(-50, abs=12)
    assert other > 15 and text.startswith(f"pose {other:.1f}° off by tiny-world")
    with pytest.raises(ValueError, match="2 poses for 3 images"):
        two = type(pose)(pose.angles * 2)
        tiny.run("MeasurePose", analyzer, image.repeat(3, 1, 1, 1), two)


def test_expression_agrees_with_itself(tiny: Tiny, analyzer: Any) -> None:
    one, other = portrait(tiny, 2, 3), portrait(tiny, 2, 11)
    same, text = tiny.run("MeasureExpression", analyzer, one, one)
    assert same == pytest.approx(1, abs=1e-4)
    assert text.startswith("expression agrees by 1.00 by tiny-world, mean difference 0.000; most:")
    different, _ = tiny.run("MeasureExpression", analyzer, other, one)
    assert different < same
    batch, text = tiny.run("MeasureExpression", analyzer, torch.cat([one, EMPTY, other]), one)
    assert batch == pytest.approx((same + different) / 2, abs=1e-4)
    assert "2 of 3 images with a face" in text
    with pytest.raises(ValueError, match=r"no face was found \(Measure Expression\)"):
        tiny.run("MeasureExpression", analyzer, one, EMPTY)


def test_change_outside_the_mask(tiny: Tiny) -> None:
    before = portrait(tiny, 2)
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 32:96] = 1
    after = before.clone()
    after[:, 40:60, 40:60] = 1 - after[:, 40:60, 40:60]
    change, text = tiny.run("MeasureChange", before, after, mask)
    assert change == 0 and text == "outside the mask (75% of the image): nothing has changed"
    everywhere, text = tiny.run("MeasureChange", before, after)
    assert everywhere > 0 and text.startswith("everywhere: mean change")
    after[0, 0, 0, 0] = 1 - after[0, 0, 0, 0]
    assert tiny.run("MeasureChange", before, after, mask)[0] > 0
    with pytest.raises(ValueError, match="2 images before, 3 after"):
        tiny.run("MeasureChange", before.repeat(2, 1, 1, 1), after.repeat(3, 1, 1, 1))
    with pytest.raises(ValueError, match="different shapes"):
        tiny.run("MeasureChange", before, after[:, :64])
    with pytest.raises(ValueError, match="not numbers"):
        tiny.run("MeasureChange", before, after * float("nan"))
