"""SFSR on diffusers: every input acts, the scene is kept, nothing stays behind."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import FacePackError, InputError
from comfyui_dense_face.evaluation.generated_words import word_drawer
from comfyui_dense_face.faces.identity import Identity, away_from
from comfyui_dense_face.faces.masks.head_swap import NEW_MARGIN
from comfyui_dense_face.pipelines.guided import expression_model
from comfyui_dense_face.pipelines.sampling import clean_schedule
from comfyui_dense_face.pipelines.tiny import dense_face
from comfyui_dense_face.pipelines.tiny.inputs import SFSRInputs
from comfyui_dense_face.pipelines.tiny.scenes import Personalised
from comfyui_dense_face.pipelines.tiny.sfsr import AWAY, MARGIN, SFSRPipeline
from comfyui_dense_face.sfsr.expression import Expression, neutral
from comfyui_dense_face.sfsr.words import expression_of_word
from locate_host import ROOT
from torch import Tensor
from ui_to_api import nodes_of

WORKFLOWS = ROOT / "workflows"
ROUNDING = 1e-3  # a quarter of a grey level: batches of other sizes sum in another order


@pytest.fixture(scope="module")
def people() -> list[Identity]:
    vectors = torch.randn(2, 512, generator=torch.Generator().manual_seed(1))
    return [Identity.from_features(vector, "tiny-world") for vector in vectors]


@pytest.fixture
def express(sfsr: SFSRPipeline, people: list[Identity], portraits: Tensor, hole: Tensor) -> Any:
    usual = {
        "scenes": portraits[:1],
        "identities": people[0],
        "expressions": neutral(),
        "prompts": "",
        "seeds": 1,
        "angles": (0.0, 0.0, 0.0),
        "mask": hole,
        "steps": 1,
        "starts": (0.0, 0.0),
    }

    def run(pipeline: SFSRPipeline = sfsr, **changes: object) -> Personalised:
        inputs: dict[str, Any] = {**usual, **changes}
        return pipeline.express(**inputs)

    return run


def test_the_scene_is_untouched_outside_the_mask(
    express: Any, portraits: Tensor, hole: Tensor
) -> None:
    made = express()
    outside = (hole == 0).expand_as(portraits[:1])
    assert torch.equal(made.image[outside], portraits[:1][outside])
    assert (made.image - portraits[:1]).abs().max() > 0.05
    assert made.mask.min() == 0 and made.mask.max() == 1


def test_of_the_room_around_a_head_only_the_new_head_comes_into_the_scene(
    express: Any, portraits: Tensor, hole: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = hole.clone()
    heads[..., : hole.shape[-1] // 2] = 0
    old = hole.clone()
    old[:, : hole.shape[-2] // 2] = 0
    without = torch.where(old[:, None] > 0, 0.5, portraits[:1])
    margins = []

    def scene_mask(_: object, __: Tensor, grow: float) -> Tensor:
        margins.append(grow)
        return hole

    monkeypatch.setattr(dense_face.DenseFacePipeline, "scene_mask", scene_mask)
    monkeypatch.setattr(dense_face.DenseFacePipeline, "swap", lambda *_: (without, heads))
    made, whole = express(mask=None), express()
    assert margins == [MARGIN]
    assert torch.equal(made.generated, whole.generated)
    assert torch.equal(made.sampling_mask[:, 0], hole)
    left_out = ((hole > 0) & (heads == 0)).expand_as(portraits[:1])
    assert torch.equal(made.image[left_out], without[left_out])
    assert not torch.equal(whole.image[left_out], portraits[:1][left_out])
    kept = (made.mask == 0).expand_as(portraits[:1])
    assert torch.equal(made.image[kept], portraits[:1][kept])
    assert made.mask[:, 0][old > 0].all() and made.mask[:, 0][heads == 1].all()
    assert not made.mask[:, 0][(old == 0) & (heads == 0)].any()


def test_people_are_kept_away_from_who_was_in_the_scene(
    express: Any,
    people: list[Identity],
    sfsr: SFSRPipeline,
    portraits: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = sfsr.world.analyse(portraits[:1])
    host = Identity(seen.identity[0], "tiny-world")
    apart = express(identities=away_from(people[0], host, 0.3), away=0.0).generated
    plain = express(away=0.0).generated
    assert not torch.equal(plain, apart)
    for face, inputs in ((-1.0, plain), (1.0, apart)):
        known = replace(seen, face_logit=torch.tensor([face]))
        monkeypatch.setattr(dense_face.DenseFacePipeline, "analyse", lambda *_, k=known: k)
        assert torch.equal(express(away=0.3).generated, inputs)
    with pytest.raises(InputError, match="amount"):
        express(away=1.5)


@pytest.mark.parametrize(
    "name",
    [
        "02 Expression by a word",
        "03 Expression from an image",
        "04 From one expression to another",
        "07 All controls at once",
    ],
)
def test_the_workflows_take_the_same_values(name: str) -> None:
    nodes = nodes_of(json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8")))
    widgets = {node["type"]: node["widgets_values"] for node in nodes if "widgets_values" in node}
    assert widgets["DenseFace_FaceMask"][1] == MARGIN
    assert widgets["DenseFace_PasteMask"] == [NEW_MARGIN]
    assert widgets["DenseFace_IdentityAwayFrom"] == [AWAY]


def test_every_input_changes_the_image(
    express: Any, people: list[Identity], sfsr: SFSRPipeline
) -> None:
    usual = express().generated
    changes: list[dict[str, object]] = [
        {"identities": people[1]},
        {"expressions": expression_of_word("joy")},
        {"prompts": "in a forest"},
        {"seeds": 2},
        {"angles": (30.0, 0.0, 0.0)},
        {"balance": -0.5},
        {"weights": (0.0, 1.0)},
        {"weights": (1.0, 0.5)},
        {"guidance": 1.0},
        {"background": "blend"},
        {"starts": (1.0, 0.0)},
    ]
    for change in changes:
        assert (express(**change).generated - usual).abs().max() > 1e-4, change


def test_sources_of_weight_0_do_not_act(express: Any, people: list[Identity]) -> None:
    first = express(weights=(0.0, 1.0)).generated
    assert torch.equal(first, express(weights=(0.0, 1.0), identities=people[1]).generated)
    alone = express(balance=1.0).generated
    assert torch.equal(first, alone)
    nothing = express(weights=(0.0, 0.0), expressions=expression_of_word("rage")).generated
    assert torch.equal(nothing, express(weights=(0.0, 0.0)).generated)


def test_guidance_amplifies_the_inputs_and_not_the_scene(
    sfsr: SFSRPipeline, people: list[Identity]
) -> None:
    """Without words, pose and sources both halves are the same, whatever the scene is."""
    chance = torch.Generator().manual_seed(2)
    background, x = torch.rand(1, 5, 16, 16, generator=chance), torch.randn(1, 4, 16, 16)

    def predicted(guidance: float, channels: Tensor | None, weight: float) -> Tensor:
        inputs = SFSRInputs.prepare(
            sfsr.adapter, [people[0]], neutral(), "", (0.0, 0.0, 0.0), channels,
            (weight, weight), (0.0, 0.0), size=128,
        )  # fmt: skip
        base = sfsr.world.base
        with expression_model(base, sfsr.adapter, None, inputs, guidance) as model:
            return model(x, torch.tensor(500))

    scene = predicted(1, background, 0)
    assert (predicted(7, background, 0) - scene).abs().max() < 1e-3
    assert (predicted(1, None, 0) - scene).abs().max() > 1e-3
    assert (predicted(7, None, 1) - predicted(1, None, 1)).abs().max() > 1e-2


def test_sources_start_within_the_run(express: Any, people: list[Identity]) -> None:
    """Two steps, at t 501 and 1: a source that starts at 60 % acts in the second alone."""
    two = {"steps": 2, "weights": (0.0, 1.0)}
    joy = expression_of_word("joy")
    early = express(**two, expressions=joy).generated
    late = express(**two, expressions=joy, starts=(0.0, 0.6)).generated
    never = express(**two, expressions=joy, starts=(0.0, 1.0)).generated
    off = express(steps=2, weights=(0.0, 0.0)).generated
    assert torch.equal(never, off)
    assert min((late - early).abs().max(), (late - off).abs().max()) > 1e-4


def test_a_batch_gives_the_images_of_single_calls(
    sfsr: SFSRPipeline, express: Any, people: list[Identity], portraits: Tensor
) -> None:
    faces = [neutral(), expression_of_word("terror")]
    many = {"scenes": portraits, "identities": people, "expressions": faces, "seeds": [1, 2]}
    both = express(**many).generated
    small = replace(sfsr, world=replace(sfsr.world, batch=1))
    assert (express(small, **many).generated - both).abs().max() < ROUNDING


def test_without_angles_the_head_keeps_the_scenes_pose(
    sfsr: SFSRPipeline, express: Any, portraits: Tensor
) -> None:
    seen = sfsr.world.scene_angles(portraits[:1])[0]
    assert torch.equal(express(angles=None).generated, express(angles=seen).generated)


def test_nothing_stays_behind(sfsr: SFSRPipeline, express: Any) -> None:
    unet = sfsr.world.base.unet
    before, hooks = unet.attn_processors, dict(unet.conv_in._forward_hooks)
    first = express().generated
    assert unet.attn_processors == before and unet.conv_in._forward_hooks == hooks
    assert torch.equal(express().generated, first)


def test_expressions_are_read_from_images(sfsr: SFSRPipeline, portraits: Tensor) -> None:
    read = sfsr.read_expressions(portraits)
    assert len(read) == 2 and all(isinstance(one, Expression) for one in read)
    values = torch.stack([one.values for one in read])
    assert values.shape == (2, 51) and values.min() >= 0 and values.max() <= 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenes": torch.zeros(1, 3, 64, 64)}, "the scenes have shape"),
        ({"mask": torch.zeros(1, 128, 128)}, "the mask covers nothing"),
        ({"mask": torch.ones(1, 128, 128)}, "the mask covers everything"),
        ({"balance": 1.5}, "the balance is 1.5"),
        ({"background": "none"}, "the background 'none' is unknown"),
        ({"angles": (90.0, 0.0, 0.0)}, "yaw of 90"),
        ({"expressions": [neutral()] * 3}, "3 expressions were given for 1 seeds"),
        (
            {"identities": Identity.from_features(torch.ones(512), "arcface")},
            "by the encoder 'arcface'",
        ),
        ({"guidance": 0.5}, "the guidance is 0.5"),
        ({"starts": (0.0, 1.5)}, "the start is 1.5"),
    ],
)
def test_bad_inputs_are_refused(express: Any, changes: dict[str, object], message: str) -> None:
    with pytest.raises(FacePackError, match=message):
        express(**changes)


def test_words_are_generated_on_one_head(
    sfsr: SFSRPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense_face, "clean_schedule", lambda steps: clean_schedule(1))
    draw = word_drawer(3, sfsr)
    codes = torch.stack([expression_of_word(word).face() for word in ("joy", "terror", "joy")])
    drawn = draw(codes)
    assert drawn.shape == (3, 3, 128, 128)
    assert (drawn[0] - drawn[2]).abs().max() < ROUNDING
    assert (drawn[0] - drawn[1]).abs().max() > ROUNDING
