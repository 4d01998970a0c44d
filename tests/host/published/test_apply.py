"""Published adapters on a MODEL of the host: identity and expression from different files."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from sfsr_in_host import apply, background, expressions, random_adapter, random_published
from torch import Tensor

SEEN = 1e-3
CLOSE = 1e-4
FACEID_ENCODER = "insightface/w600k_r50"


@pytest.fixture(scope="module")
def base(tiny: Tiny) -> Tensor:
    return tiny.sample(tiny.model)


@pytest.fixture
def person(tiny: Tiny) -> Any:
    return tiny.people(encoder=FACEID_ENCODER)


def test_identity_alone(tiny: Tiny, base: Tensor, person: Any) -> None:
    faceid = random_published(tiny)
    model = apply(tiny, faceid, people=person, expression=None)
    assert difference(tiny.sample(model), base) > SEEN
    # As published, nobody's tokens stand in the half without prompt.
    seen = tiny.sample(model, cfg=0.0, steps=1)
    assert difference(seen, tiny.sample(tiny.model, cfg=0.0, steps=1)) > SEEN
    off = apply(tiny, faceid, people=person, expression=None, identity_weight=0.0)
    assert torch.equal(tiny.sample(off), base)
    old_name = tiny.people(encoder="insightface/buffalo_l")
    same = apply(tiny, faceid, people=old_name, expression=None)
    assert torch.equal(tiny.sample(same), tiny.sample(model))


def test_expression_alone_needs_no_identity(tiny: Tiny, base: Tensor) -> None:
    fineface = random_published(tiny, "FINEFACE")
    smile = expressions(tiny, {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0})
    rest = expressions(tiny, {"mouthSmileLeft": 0.0})

    def model(face: Any, **changes: Any) -> Any:
        return apply(tiny, fineface, identity=None, expression=face, **changes)

    smiling = tiny.sample(model(smile))
    assert difference(smiling, base) > SEEN
    # A face at rest is not nothing: zero units through the encoder stand in both halves.
    resting = tiny.sample(model(rest), steps=1)
    assert difference(resting, tiny.sample(tiny.model, steps=1)) > SEEN
    without_prompt = tiny.sample(model(smile), cfg=0.0, steps=1)
    assert difference(without_prompt, tiny.sample(model(rest), cfg=0.0, steps=1)) < CLOSE
    off = model(smile, expression_weight=0.0)
    assert torch.equal(tiny.sample(off), base)


def test_both_from_different_files(tiny: Tiny, person: Any) -> None:
    faceid, fineface = random_published(tiny), random_published(tiny, "FINEFACE")
    smile = expressions(tiny, {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0})
    both = apply(tiny, faceid, people=person, expression=smile, expression_adapter=fineface)
    in_turn = apply(tiny, faceid, people=person, expression=None)
    in_turn = apply(tiny, fineface, in_turn, identity=None, expression=smile)
    assert difference(tiny.sample(both), tiny.sample(in_turn)) < CLOSE
    balanced = apply(
        tiny, faceid, people=person, expression=smile, expression_adapter=fineface, balance=1.0
    )
    alone = apply(tiny, fineface, identity=None, expression=smile)
    assert difference(tiny.sample(balanced), tiny.sample(alone)) < CLOSE


def test_published_expressions_act_from_the_first_step(tiny: Tiny) -> None:
    fineface = random_published(tiny, "FINEFACE")
    start = apply(tiny, fineface, identity=None, expression_start_percent=0.3)
    late = apply(tiny, fineface, identity=None, published_start_percent=0.3)
    assert difference(tiny.sample(start), tiny.sample(late)) > SEEN
    own = apply(tiny, fineface, identity=None, expression_start_percent=0.0)
    assert torch.equal(tiny.sample(start), tiny.sample(own))


def test_a_scene_keeps_the_expression_to_its_face(tiny: Tiny) -> None:
    fineface, (place, _, _) = random_published(tiny, "FINEFACE"), background(tiny)
    kept = apply(tiny, fineface, identity=None, background=place)
    masked = apply(tiny, fineface, identity=None, background=place, mask=place.mask[:, 0])
    everywhere = apply(
        tiny, fineface, identity=None, background=place, mask=torch.ones_like(place.mask[:, 0])
    )
    options = {"latent": place.latent, "noise_mask": place.mask}
    drawn = [tiny.sample(model, **options) for model in (kept, masked, everywhere)]
    assert torch.equal(drawn[0], drawn[1]) and difference(drawn[0], drawn[2]) > SEEN


def test_lora_has_a_strength_of_its_own(tiny: Tiny, base: Tensor, person: Any) -> None:
    faceid = random_published(tiny, rank=2)

    def drawn(**changes: Any) -> Tensor:
        return tiny.sample(apply(tiny, faceid, people=person, expression=None, **changes))

    assert difference(drawn(), drawn(lora_strength=0.0)) > SEEN
    without = apply(tiny, random_published(tiny), people=person, expression=None)
    patched = apply(tiny, faceid, people=person, expression=None).patches
    assert len(patched) == 8 * len(faceid.adapter.layers)  # q, k, v, out of self and cross
    assert not apply(tiny, faceid, people=person, expression=None, lora_strength=0.0).patches
    assert without.patches == tiny.model.patches == {}
    # It belongs to the identity: without it nothing stays on the model.
    assert torch.equal(drawn(identity_weight=0.0), base)
    once = apply(tiny, faceid, people=person, expression=None)
    with pytest.raises(ValueError, match="on the model already and would count twice"):
        apply(tiny, faceid, once, people=person, expression=None)


@pytest.mark.parametrize("kind", ["FACEID", "PORTRAIT"])
def test_several_photos(tiny: Tiny, kind: str) -> None:
    adapter = random_published(tiny, kind, tokens=16 if kind == "PORTRAIT" else 4)
    two = tiny.people(2, encoder=FACEID_ENCODER).identities
    average = tiny.module("faces.identity").average(two)
    person = tiny.module("nodes.sockets").People((average,), (two,))

    def drawn(way: str) -> Tensor:
        return tiny.sample(apply(tiny, adapter, people=person, expression=None, several_photos=way))

    mean, groups = drawn("mean of vectors"), drawn("tokens for each image")
    assert difference(mean, groups) > SEEN
    own = mean if kind == "FACEID" else groups
    assert torch.equal(drawn("the adapter's own way"), own)


@pytest.mark.parametrize("kind", ["PLUS", "PLUS_V2"])
def test_plus_reads_clip_vision(tiny: Tiny, kind: str) -> None:
    adapter = random_published(tiny, kind)
    two = tiny.people(2, encoder=FACEID_ENCODER).identities
    people = tiny.module("nodes.sockets").People
    states = torch.randn(2, 17, 160, generator=torch.Generator().manual_seed(1))
    person = people(two[:1], None, (states[:1],), states[1:])
    other = people(two[:1], None, (states[1:],), states[1:])

    def drawn(who: Any, **changes: Any) -> Tensor:
        return tiny.sample(apply(tiny, adapter, people=who, expression=None, **changes))

    assert difference(drawn(person), drawn(other)) > SEEN
    scaled = difference(drawn(person), drawn(person, s_scale=0.2))
    assert scaled > SEEN if kind == "PLUS_V2" else scaled == 0
    with pytest.raises(ValueError, match=r"also reads the face's image.*Connect CLIP vision"):
        drawn(people(two[:1]))
    wide = people(two[:1], None, (torch.randn(1, 17, 1024),), torch.randn(1, 17, 1024))
    with pytest.raises(ValueError, match="1024 numbers, the adapter reads 160"):
        drawn(wide)


def test_report_names_licences_and_lost_units(
    tiny: Tiny, person: Any, caplog: pytest.LogCaptureFixture
) -> None:
    word = tiny.module("sfsr.words").expression_of_word("rage")
    rage = tiny.module("nodes.sockets").Expressions((word,))
    inputs = {
        "model": tiny.model,
        "adapter": random_published(tiny),
        "expression_adapter": random_published(tiny, "FINEFACE"),
        "identity": person,
        "expression": rage,
        "balance": 0.0,
        "identity_weight": 1.0,
        "expression_weight": 1.0,
        "identity_start_percent": 0.0,
        "identity_end_percent": 1.0,
        "expression_start_percent": 0.3,
        "expression_end_percent": 1.0,
        "keep_identity_out": False,
    }
    with caplog.at_level(logging.WARNING):
        _, report = tiny.run("ApplySFSR", **inputs)
    assert "IP-Adapter-FaceID" in report and "not for commercial use" in report
    assert "AU7, AU10, AU23 and AU27 are lost" in report and "are lost" in caplog.text


@pytest.mark.parametrize(
    ("adapter", "changes", "message"),
    [
        ("FACEID", {}, "knows identities and no expressions"),
        ("FACEID", {"identity": None, "expression": None}, "neither an identity nor"),
        ("FACEID", {"identity": None}, "identity adapter, and no identity is connected"),
        ("FINEFACE", {"expression": None}, "expression adapter, and no expression is connected"),
        ("FINEFACE", {}, "draws expressions and no identity"),
        (
            "FINEFACE",
            {"identity": None, "keep_identity_out": True},
            "Switch expression without identity off",
        ),
        ("ARC2FACE_EXPRESSION", {}, "draws expressions and no identity"),
        ("ARC2FACE_EXPRESSION", {"expression": None}, "Expression from FLAME"),
        ("ARC2FACE_EXPRESSION", {"identity": None}, "blendshapes and no FLAME numbers"),
        (
            "ARC2FACE_EXPRESSION",
            {"identity": None, "keep_identity_out": True},
            "Switch expression without identity off",
        ),
    ],
)
def test_what_does_not_belong_together(
    tiny: Tiny, person: Any, adapter: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as error:
        apply(tiny, random_published(tiny, adapter), **{"identity": person, **changes})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("adapter", ["FINEFACE", "own"])
def test_a_flame_expression_for_another_adapter(tiny: Tiny, adapter: str) -> None:
    face = tiny.run("ExpressionFromFLAME", "")
    found = random_adapter(tiny) if adapter == "own" else random_published(tiny, adapter)
    with pytest.raises(ValueError, match=r"numbers of smirk/em1 and no blendshapes") as error:
        apply(tiny, found, expression=face, **({} if adapter == "own" else {"identity": None}))
    assert "FLAME expressions are for Arc2Face's expression adapter" in str(error.value)


def test_flame_expressions_act(tiny: Tiny, base: Tensor) -> None:
    """From the first step, each image with its own; the neutral face acts, too."""
    adapter = random_published(tiny, "ARC2FACE_EXPRESSION")
    neutral = tiny.run("ExpressionFromFLAME", "")
    chance = torch.Generator().manual_seed(0)
    rest = torch.tensor([0.2, 0.3, 0.1, 0, 0])
    numbers = torch.cat([torch.randn(50, generator=chance), rest])
    face = tiny.run("ExpressionFromFLAME", " ".join(map(str, numbers.tolist())))
    at_rest, moved = (
        tiny.sample(apply(tiny, adapter, identity=None, expression=each))
        for each in (neutral, face)
    )
    assert difference(at_rest, base) > SEEN and difference(moved, at_rest) > SEEN
    off = apply(tiny, adapter, identity=None, expression=face, expression_weight=0.0)
    assert torch.equal(tiny.sample(off), base)
    way = tiny.run("ExpressionTravel", neutral, face, 3)
    assert [float(code.learned[0]) for code in way.codes] == pytest.approx(
        [0, float(numbers[0]) / 2, float(numbers[0])]
    )


def test_identity_of_another_encoder(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"measured by tiny-world.*insightface/w600k_r50"):
        apply(tiny, random_published(tiny), expression=None)


def test_own_adapter_beside_a_published_one(tiny: Tiny, base: Tensor) -> None:
    own, fineface = random_adapter(tiny), random_published(tiny, "FINEFACE")
    model = apply(tiny, own, expression_adapter=fineface)
    assert difference(tiny.sample(model), base) > SEEN
    own_alone = apply(tiny, own, expression=None)
    assert difference(tiny.sample(model), tiny.sample(own_alone)) > SEEN


def test_model_with_text_of_another_width(tiny: Tiny, person: Any) -> None:
    """Stable Diffusion 2 has the layers of 1.5 and another text encoder."""
    from dataclasses import replace

    faceid = random_published(tiny)
    layout = faceid.adapter.layout
    faceid.adapter.layout = replace(layout, target=replace(layout.target, width=1024))
    with pytest.raises(ValueError, match=r"the model's text is 128 wide, the adapter's 1024"):
        apply(tiny, faceid, people=person, expression=None, identity_weight=0.0)
