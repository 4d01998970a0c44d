"""Dense-Face on diffusers: deterministic, independent of the batch, nothing left behind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comfyui_dense_face.errors import FacePackError, IncompatibleError
from comfyui_dense_face.faces.angles import Angles
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.pipelines.tiny import dense_face
from comfyui_dense_face.pipelines.tiny.dense_face import DenseFacePipeline
from comfyui_dense_face.pipelines.tiny.inputs import Parts
from torch import Tensor

FEW = {"steps": 2}
FRONT: Angles = (0.0, 0.0, 0.0)
LEFT: Angles = (30.0, 5.0, -5.0)
ROUNDING = 1e-3  # a quarter of a grey level: batches of other sizes sum in another order


@pytest.fixture(scope="module")
def people() -> list[Identity]:
    """Random identities: an analyzer of random weights gives every face the same one."""
    chance = torch.Generator().manual_seed(1)
    vectors = torch.randn(2, 512, generator=chance)
    return [Identity.from_features(vector, "tiny-world") for vector in vectors]


def test_references_of_one_person_are_averaged(
    pipeline: DenseFacePipeline, portraits: Tensor
) -> None:
    one, other = (pipeline.identity(portrait[None]).vector for portrait in portraits)
    both = pipeline.identity(portraits).vector
    assert both @ one == pytest.approx(float(both @ other), abs=1e-4)


def test_text_editing_is_deterministic_and_follows_the_seed(pipeline: DenseFacePipeline) -> None:
    first, second = (pipeline.text_image("red hair", [1, 2], **FEW) for _ in range(2))
    assert first.shape == (2, 3, 128, 128)
    assert torch.equal(first, second)
    assert first.min() >= 0 and first.max() <= 1
    assert (first[0] - first[1]).abs().mean() > 0.01


def test_a_batch_gives_the_images_of_single_calls(
    pipeline: DenseFacePipeline, people: list[Identity]
) -> None:
    prompts, angles = ["smiling", "in a forest"], [FRONT, LEFT]
    both = pipeline.face_image(people, prompts, angles, [1, 2], **FEW)
    small = replace(pipeline, batch=1)
    assert (small.face_image(people, prompts, angles, [1, 2], **FEW) - both).abs().max() < ROUNDING
    for i in range(2):
        alone = pipeline.face_image(people[i], prompts[i], angles[i], i + 1, **FEW)
        assert (alone[0] - both[i]).abs().max() < ROUNDING


def test_each_part_changes_the_image(pipeline: DenseFacePipeline, people: list[Identity]) -> None:
    def drawn(who: Identity, angles: Angles = FRONT, parts: Parts = dense_face.ALL_PARTS) -> Tensor:
        return pipeline.face_image(who, "smiling", angles, 1, parts=parts, **FEW)

    whole = drawn(people[0])
    others = {
        "person": drawn(people[1]),
        "angle": drawn(people[0], LEFT),
        "adapter": drawn(people[0], parts=Parts(adapter=False)),
        "token": drawn(people[0], parts=Parts(token=False)),
        "pose": drawn(people[0], parts=Parts(pose=False)),
    }
    changes = {name: float((other - whole).abs().max()) for name, other in others.items()}
    assert min(changes.values()) > 1e-4, changes


def test_without_any_part_it_is_text_editing(
    pipeline: DenseFacePipeline, people: list[Identity]
) -> None:
    """Without identity and angles, only the placeholder differs from a plain prompt."""
    nothing = Parts(adapter=False, token=False, pose=False)
    one = pipeline.face_image(people[0], "sad", LEFT, 1, parts=nothing, **FEW)
    other = pipeline.face_image(people[1], "sad", FRONT, 1, parts=nothing, **FEW)
    assert torch.equal(one, other)


def test_the_scene_is_untouched_outside_the_mask(
    pipeline: DenseFacePipeline, people: list[Identity], portraits: Tensor, hole: Tensor
) -> None:
    made = pipeline.personalise(portraits, people, "smiling", FRONT, [1, 2], hole, **FEW)
    outside = (hole == 0).expand_as(portraits)
    assert torch.equal(made.image[outside], portraits[outside])
    inside = (hole == 1).expand_as(portraits)
    assert (made.image - portraits)[inside].abs().mean() > 0.01
    again = pipeline.personalise(portraits[1:], people[1], "smiling", FRONT, 2, hole, **FEW)
    assert (again.image - made.image[1:]).abs().max() < ROUNDING


def test_an_empty_mask_keeps_everything(
    pipeline: DenseFacePipeline, people: list[Identity], portraits: Tensor
) -> None:
    nowhere = torch.zeros(1, 128, 128)
    made = pipeline.personalise(portraits[:1], people[0], "", FRONT, 1, nowhere, **FEW)
    assert torch.equal(made.image, portraits[:1])


def test_known_latents_of_a_scene_need_no_encoding(
    pipeline: DenseFacePipeline, people: list[Identity], hole: Tensor
) -> None:
    latents = pipeline.text_latents("by a window", 1, **FEW)
    scene = pipeline.decode(latents)
    made = pipeline.personalise(
        scene, people[0], "by a window", FRONT, 1, torch.zeros_like(hole), latents=latents, **FEW
    )
    assert (made.generated - scene).abs().max() < ROUNDING


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_the_base_is_as_before_after_a_failure(
    pipeline: DenseFacePipeline,
    people: list[Identity],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    before = pipeline.base.unet.attn_processors
    hooks = pipeline.base.text_encoder.get_input_embeddings()._forward_hooks

    def fail(*_: object) -> None:
        assert pipeline.base.unet.attn_processors != before  # the adapter is at work
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(dense_face, "sample", fail)
        with pytest.raises(type(error)):
            pipeline.face_image(people[0], "", FRONT, 1, **FEW)
    assert pipeline.base.unet.attn_processors == before
    assert not hooks


def test_text_editing_is_untouched_by_a_face_before_it(
    pipeline: DenseFacePipeline, people: list[Identity]
) -> None:
    before = pipeline.text_image("smiling", 1, **FEW)
    pipeline.face_image(people[0], "smiling", LEFT, 1, **FEW)
    assert torch.equal(pipeline.text_image("smiling", 1, **FEW), before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"angles": (61.0, 0.0, 0.0)}, "yaw of 61 degrees"),
        ({"angles": (0.0, -36.0, 0.0)}, "pitch of -36 degrees"),
        ({"angles": (0.0, 0.0, float("nan"))}, "roll of nan"),
        ({"prompts": "a*b"}, "touches another word"),
        ({"prompts": "red " * 60 + "*"}, "after the first 46 words"),
        ({"prompts": ["a", "b", "c"]}, "3 prompts"),
        ({"seeds": -1}, "seed -1"),
        ({"seeds": []}, "no seed"),
        ({"steps": 0}, "0 steps"),
        ({"guidance": 0.5}, "guidance is 0.5"),
        ({"guidance": float("nan")}, "guidance is nan"),
    ],
)
def test_wrong_values_are_refused(
    pipeline: DenseFacePipeline,
    people: list[Identity],
    changes: dict[str, object],
    message: str,
) -> None:
    values = {"prompts": "", "angles": FRONT, "seeds": 1, "steps": 2, "guidance": 3.0, **changes}
    with pytest.raises(FacePackError, match=message):
        pipeline.face_image(people[0], **values)


def test_identities_of_another_encoder_are_refused(
    pipeline: DenseFacePipeline, people: list[Identity]
) -> None:
    stranger = Identity(people[0].vector, "arcface")
    with pytest.raises(IncompatibleError, match="arcface"):
        pipeline.face_image(stranger, "", FRONT, 1, **FEW)


def test_scenes_of_another_size_are_refused(
    pipeline: DenseFacePipeline, people: list[Identity]
) -> None:
    with pytest.raises(FacePackError, match="128 px"):
        pipeline.personalise(torch.zeros(1, 3, 64, 64), people[0], "", FRONT, 1, **FEW)
