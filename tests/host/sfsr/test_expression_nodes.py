"""Expression nodes: words, sliders, images, and algebra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from in_host import Tiny
from PIL import Image
from torch import Tensor


@pytest.fixture(scope="module")
def analyzer(tiny: Tiny) -> Any:
    with torch.inference_mode():
        return tiny.run("LoadTinyAnalyzer")


def word(tiny: Tiny, option: str = "joy / joy", **changes: Any) -> Any:
    inputs = {"intensity": 1.0, "seed": 0, "variation": 0.15, **changes}
    return tiny.run("ExpressionFromWord", option, **inputs)


def head(tiny: Tiny, expression: Any, size: int = 128) -> Tensor:
    """IMAGE of the rendered head."""
    return tiny.run("PreviewExpression", expression, 7, size)[0]


def values(expression: Any) -> Tensor:
    return torch.stack([code.values for code in expression.codes])


# ---- words -------------------------------------------------------------------------------------


def test_words_in_six_groups(tiny: Tiny) -> None:
    schema = tiny.module("nodes.sfsr.expression_word").ExpressionFromWord.define_schema()
    options = schema.inputs[0].options
    assert len(set(options)) == 135 and schema.inputs[0].default in options
    groups = [option.split(" / ")[0] for option in options]
    assert list(dict.fromkeys(groups)) == ["love", "joy", "surprise", "anger", "sadness", "fear"]
    assert groups == sorted(groups, key=list(dict.fromkeys(groups)).index)


def test_the_bare_word_is_enough(tiny: Tiny) -> None:
    assert torch.equal(values(word(tiny, "anger / rage")), values(word(tiny, "Rage")))
    node = tiny.module("nodes.sfsr.expression_word").ExpressionFromWord
    assert node.validate_inputs("anger / rage") is True and node.validate_inputs("rage") is True
    message = node.validate_inputs("anger / ragee")
    assert message.startswith("'ragee' is not one of the 135 words. The closest are rage")
    with pytest.raises(ValueError, match="'ragee' is not one of the 135 words"):
        word(tiny, "ragee")


# ---- sliders -----------------------------------------------------------------------------------


def test_sliders(tiny: Tiny) -> None:
    node = tiny.module("nodes.sfsr.expression_sliders").ExpressionFromSliders
    sliders = [item for item in node.define_schema().inputs if item.id != "expression"]
    assert len(sliders) == 51
    rest = {item.id: 0.0 for item in sliders}
    assert not values(tiny.run("ExpressionFromSliders", **rest)).any()
    opened = tiny.run("ExpressionFromSliders", **{**rest, "jawOpen": 0.5})
    assert values(opened).sum() == 0.5
    started = tiny.run("ExpressionFromSliders", expression=word(tiny), **{**rest, "jawOpen": 1.0})
    named = started.codes[0].named()
    assert named["jawOpen"] == 1 and named["mouthSmileLeft"] > 0.5
    with pytest.raises(ValueError, match=r"'jaw open' is 3.0"):
        tiny.run("ExpressionFromSliders", **{**rest, "jawOpen": 3.0})


# ---- images ----------------------------------------------------------------------------------


def test_expression_of_images(tiny: Tiny, analyzer: Any) -> None:
    expected = [word(tiny, name, variation=0.0) for name in ("jubilation", "grief")]
    image = torch.cat([head(tiny, one) for one in expected])
    seen = tiny.run("ExpressionFromImage", analyzer, image)
    assert len(seen) == 2 and seen.codes[0].source == "image by tiny-world"
    happy, sad = (code.named() for code in seen.codes)
    assert happy["mouthSmileLeft"] > sad["mouthSmileLeft"] + 0.2
    assert sad["mouthFrownLeft"] > happy["mouthFrownLeft"] + 0.2


def test_images_without_a_face_are_named(tiny: Tiny, analyzer: Any) -> None:
    with pytest.raises(ValueError, match=r"no face was found \(Expression from Image\)"):
        tiny.run("ExpressionFromImage", analyzer, torch.full((1, 128, 128, 3), 0.5))
    with pytest.raises(ValueError, match=r"the image is empty \(Expression from Image\)"):
        tiny.run("ExpressionFromImage", analyzer, torch.zeros(0, 64, 64, 3))


def faces_of(tiny: Tiny, shapes: dict[str, float] | None) -> Any:
    face = tiny.module("faces.face").Face(
        (64, 64), (8, 8, 56, 56), 1.0, torch.zeros(0, 2), "none", "test", blendshapes=shapes
    )
    return tiny.module("nodes.sockets").FoundFaces(((face,),))


def test_expression_of_faces(tiny: Tiny) -> None:
    seen = tiny.run("ExpressionOfFaces", faces_of(tiny, {"jawOpen": 0.3}))
    assert seen.codes[0].named() == {"jawOpen": pytest.approx(0.3)}
    text = tiny.run("PreviewExpression", seen, 7, 64)[1]
    assert text == "image by test: jawOpen 0.30 (50 not measured)"
    with pytest.raises(ValueError, match=r"the analyzer gives no expression \(test\)"):
        tiny.run("ExpressionOfFaces", faces_of(tiny, None))


# ---- exemplars ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "sfsr", ([str(tmp_path)], set()))
    place = tmp_path / "exemplars" / "grief"
    place.mkdir(parents=True)
    for name in ("grief", "sorrow", "jubilation"):
        pixels = (head(tiny, word(tiny, name))[0] * 255).byte().numpy()
        Image.fromarray(pixels).save(place / f"{name}.png")
    return place


def exemplars(tiny: Tiny, analyzer: Any, name: str, choice: str = "medoid", seed: int = 0) -> Any:
    return tiny.run("ExpressionFromExemplars", analyzer, name, choice, seed)


def test_exemplar_images(tiny: Tiny, analyzer: Any, folder: Path) -> None:
    medoid = exemplars(tiny, analyzer, "sadness / grief")
    assert medoid.codes[0].source.startswith("exemplar grief/")
    assert "jubilation" not in medoid.codes[0].source
    drawn = {exemplars(tiny, analyzer, "grief", "seed", seed).codes[0].source for seed in range(12)}
    assert len(drawn) == 3
    with pytest.raises(ValueError, match="there are no exemplar images of joy"):
        exemplars(tiny, analyzer, "joy / joy")


def test_new_images_are_noticed_and_damaged_ones_named(
    tiny: Tiny, analyzer: Any, folder: Path
) -> None:
    node = tiny.module("nodes.sfsr.expression_word").ExpressionFromExemplars
    before = node.fingerprint_inputs(word="sadness / grief", choice="medoid", seed=0)
    (folder / "a.png").write_bytes((folder / "grief.png").read_bytes()[:300])
    assert node.fingerprint_inputs(word="sadness / grief", choice="medoid", seed=0) != before
    assert node.fingerprint_inputs(word="joy / joy") == ""
    with pytest.raises(ValueError, match=r"images of grief cannot be used: a\.png: it cannot be"):
        exemplars(tiny, analyzer, "grief")


# ---- calculating -------------------------------------------------------------------------------


def test_blend(tiny: Tiny) -> None:
    joy, rage = word(tiny, "joy"), word(tiny, "rage")
    weights = {f"weight_{i}": 1.0 for i in range(1, 5)}
    mixed = tiny.run("BlendExpressions", expression_1=joy, expression_2=rage, **weights)
    assert torch.allclose(values(mixed), (values(joy) + values(rage)) / 2)
    third = tiny.run(
        "BlendExpressions", expression_1=joy, expression_2=rage, expression_4=rage, **weights
    )
    assert torch.allclose(values(third), (values(joy) + 2 * values(rage)) / 3)
    with pytest.raises(ValueError, match="these weights cannot be used: 0, 0"):
        nothing = {**weights, "weight_1": 0.0, "weight_2": 0.0}
        tiny.run("BlendExpressions", expression_1=joy, expression_2=rage, **nothing)


def test_travel_is_a_batch_and_blends_with_batches(tiny: Tiny) -> None:
    joy, rage = word(tiny, "joy"), word(tiny, "rage")
    way = tiny.run("ExpressionTravel", joy, rage, 8)
    assert len(way) == 8
    assert torch.equal(values(way)[[0, 7]], torch.cat([values(joy), values(rage)]))
    weights = {f"weight_{i}": 1.0 for i in range(1, 5)}
    mixed = tiny.run("BlendExpressions", expression_1=way, expression_2=joy, **weights)
    assert len(mixed) == 8
    other = tiny.run("ExpressionTravel", joy, rage, 3)
    with pytest.raises(ValueError, match=r"3 expressions were given for 8 \(Blend Expressions\)"):
        tiny.run("BlendExpressions", expression_1=way, expression_2=other, **weights)
    with pytest.raises(ValueError, match=r"were given for 1 \(Expression Travel\)"):
        tiny.run("ExpressionTravel", way, joy, 3)


def test_mirror(tiny: Tiny) -> None:
    smirk = word(tiny, "contempt")
    flipped = tiny.run("MirrorExpression", smirk)
    assert not torch.equal(values(flipped), values(smirk))
    assert torch.equal(values(tiny.run("MirrorExpression", flipped)), values(smirk))


def test_add_and_subtract(tiny: Tiny) -> None:
    joy, rage = word(tiny, "joy"), word(tiny, "rage")
    difference = tiny.run("CombineExpressions", joy, rage, "subtract", 1.0, False)
    assert float(values(difference).min()) < 0
    back = tiny.run("CombineExpressions", difference, rage, "add", 1.0, True)
    assert torch.allclose(values(back), values(joy), atol=1e-6)
    cut = tiny.run("CombineExpressions", joy, rage, "subtract", 1.0, True)
    assert float(values(cut).min()) == 0
    with pytest.raises(ValueError, match=r"operation is 'times'"):
        tiny.run("CombineExpressions", joy, rage, "times", 1.0, True)


def test_preview(tiny: Tiny) -> None:
    way = tiny.run("ExpressionTravel", word(tiny, "joy"), word(tiny, "rage"), 2)
    image, text = tiny.run("PreviewExpression", way, 7, 64)
    assert image.shape == (2, 64, 64, 3) and not torch.equal(image[0], image[1])
    first, second = text.splitlines()
    assert first.startswith("word joy, intensity 1, seed 0: mouthSmile")
    assert second.startswith("word rage")
    # A difference is drawn as far as a face can make it.
    less = tiny.run("CombineExpressions", way, word(tiny, "joy"), "subtract", 2.0, False)
    assert tiny.run("PreviewExpression", less, 7, 64)[0].isfinite().all()


# ---- what the nodes show -----------------------------------------------------------------------


def test_nodes_show_heads_of_what_they_make(tiny: Tiny, analyzer: Any) -> None:
    sad, glad = word(tiny, "sadness / sadness"), word(tiny, "joy / happiness")
    heads = tiny.images_shown("ExpressionTravel", sad, glad, 12)
    ends = [head(tiny, each)[0] for each in (sad, glad)]
    assert len(heads) == 8
    for shown, expected in zip((heads[0], heads[-1]), ends, strict=True):
        assert (shown - expected).abs().max() < 1 / 255
    (mirrored,) = tiny.images_shown("MirrorExpression", glad)
    (blended,) = tiny.images_shown("BlendExpressions", **two(sad, glad))
    (added,) = tiny.images_shown("CombineExpressions", sad, glad, "add", 1.0, True)
    assert len({image.numpy().tobytes() for image in (mirrored, blended, added)}) == 3
    photo = tiny.run("TinyPortrait", 2, 3, 0.0, 0.0, 0.0, 128)[0]
    measured = tiny.run("ExpressionFromImage", analyzer, photo)
    (read,) = tiny.images_shown("ExpressionFromImage", analyzer, photo)
    assert (read - head(tiny, measured)[0]).abs().max() < 1 / 255


def test_numbers_of_a_network_alone_are_not_drawn(tiny: Tiny) -> None:
    flame = tiny.run("ExpressionFromFLAME", "")
    heads = tiny.module("nodes.sfsr.heads")
    node = tiny.module("nodes.sfsr.expression_files").LoadExpression
    assert heads.with_heads(node, flame).ui is None


def two(one: Any, other: Any) -> dict[str, Any]:
    return {
        "expression_1": one, "expression_2": other,
        "weight_1": 1.0, "weight_2": 1.0, "weight_3": 1.0, "weight_4": 1.0,
    }  # fmt: skip
