"""CLIP vision states of reference faces, by the host's own class at small sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from sfsr_in_host import apply, random_published
from torch import Tensor

ENCODER = "insightface/w600k_r50"
WIDTH, SIDE, PATCH = 160, 224, 56
TOKENS = (SIDE // PATCH) ** 2 + 1


def small_clip(width: int = WIDTH, kind: str = "clip_vision_model") -> Any:
    """CLIP_VISION of random weights."""
    import comfy.clip_vision

    config = {
        "model_type": kind,
        "num_hidden_layers": 3,
        "hidden_size": width,
        "num_attention_heads": 4,
        "intermediate_size": 2 * width,
        "hidden_act": "gelu",
        "num_channels": 3,
        "image_size": SIDE,
        "patch_size": PATCH,
        "projection_dim": 32,
    }
    clip = comfy.clip_vision.ClipVisionModel(config)
    chance = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in clip.model.parameters():
            weight.copy_(0.1 * torch.randn(weight.shape, generator=chance))
    return clip


@pytest.fixture(scope="module")
def clip() -> Any:
    return small_clip()


class Colours:
    """Takes the mean colour for the identity."""

    encoder = ENCODER

    def __init__(self, tiny: Tiny) -> None:
        self._identity = tiny.module("faces.identity").Identity

    def identify(self, image: Tensor, face: Any) -> Any:
        colours = torch.nn.functional.pad(image.mean((1, 2)), (0, 509))
        return self._identity.from_features(colours, self.encoder)


@pytest.fixture
def analyzer(tiny: Tiny) -> Any:
    return tiny.module("nodes.sockets").LoadedAnalyzer(None, ENCODER, object(), Colours(tiny))


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 90, 120, 3, generator=torch.Generator().manual_seed(5))


def faces_of(tiny: Tiny, images: Tensor) -> Any:
    """The same points in every image, tilted."""
    points = torch.tensor([[45.0, 35], [70, 38], [56, 48], [46, 60], [66, 62]])
    face = tiny.module("faces.face").Face
    one = face((120, 90), (30, 20, 90, 80), 0.9, points, "five", "test", five=points)
    return tiny.module("nodes.sockets").FoundFaces(((one,),) * len(images))


def encode(tiny: Tiny, analyzer: Any, images: Tensor, way: str, **more: Any) -> Any:
    faces = faces_of(tiny, images)
    return tiny.run("EncodeIdentity", analyzer, images, way, faces, **more)[0]


def test_states_are_those_of_the_aligned_face(
    tiny: Tiny, analyzer: Any, clip: Any, images: Tensor
) -> None:
    people = encode(tiny, analyzer, images, "one person", clip_vision=clip)
    (states,) = people.clip_states
    assert states.shape == (3, TOKENS, WIDTH) and not states.requires_grad
    align = tiny.module("faces.crops.alignment").align_face
    five = faces_of(tiny, images).images[0][0].require_five()
    with torch.inference_mode():
        for image, found in zip(images, states, strict=True):
            crop = align(image.movedim(-1, 0), five, SIDE).movedim(0, -1)[None]
            output = clip.encode_image(crop)
            assert torch.equal(found[None], output["penultimate_hidden_states"])
            assert not torch.equal(found[None], output["last_hidden_state"])
    assert not torch.equal(states[0], states[1])


def test_nobody_is_an_image_of_zero_normalised_pixels(
    tiny: Tiny, analyzer: Any, clip: Any, images: Tensor
) -> None:
    absent = encode(tiny, analyzer, images, "one person", clip_vision=clip).clip_absent
    assert absent.shape == (1, TOKENS, WIDTH)
    with torch.inference_mode():
        pixels = torch.zeros(1, 3, SIDE, SIDE)
        assert torch.equal(absent, clip.model(pixel_values=pixels, intermediate_output=-2)[1])
        mean = torch.tensor(clip.image_mean).expand(1, SIDE, SIDE, 3)
        grey = clip.encode_image(mean)["penultimate_hidden_states"]
        black = clip.encode_image(torch.zeros(1, SIDE, SIDE, 3))["penultimate_hidden_states"]
    # The mean colour comes close, but for its rounding to 8 bits; black does not.
    assert 0 < difference(absent, grey) < difference(absent, black)


def test_one_person_each(tiny: Tiny, analyzer: Any, clip: Any, images: Tensor) -> None:
    people = encode(tiny, analyzer, images, "one person per picture", clip_vision=clip)
    assert [len(photos) for photos in people.photos] == [1, 1, 1]
    assert [tuple(each.shape) for each in people.clip_states] == [(1, TOKENS, WIDTH)] * 3
    together = encode(tiny, analyzer, images, "one person", clip_vision=clip)
    assert torch.equal(torch.cat(people.clip_states), together.clip_states[0])


def test_an_image_of_weight_zero_is_left_out(
    tiny: Tiny, analyzer: Any, clip: Any, images: Tensor
) -> None:
    people = encode(tiny, analyzer, images, "one person", weights="1, 0, 2", clip_vision=clip)
    every = encode(tiny, analyzer, images, "one person", clip_vision=clip)
    assert len(people.photos[0]) == 2
    assert torch.equal(people.clip_states[0], every.clip_states[0][[0, 2]])


def test_photos_are_kept_without_clip(tiny: Tiny, analyzer: Any, images: Tensor) -> None:
    people = encode(tiny, analyzer, images, "one person")
    assert people.clip_states is None and people.clip_absent is None
    assert len(people.identities) == 1 and len(people.photos[0]) == 3
    adapter = random_published(tiny)
    drawn = [
        tiny.sample(apply(tiny, adapter, people=people, expression=None, several_photos=way))
        for way in ("mean of vectors", "tokens for each image")
    ]
    assert difference(*drawn) > 0


def test_plus_v2_from_photos_to_latents(
    tiny: Tiny, analyzer: Any, clip: Any, images: Tensor
) -> None:
    adapter = random_published(tiny, "PLUS_V2")

    def drawn(people: Any, **changes: Any) -> Tensor:
        return tiny.sample(apply(tiny, adapter, people=people, expression=None, **changes))

    people = encode(tiny, analyzer, images, "one person", clip_vision=clip)
    each = encode(tiny, analyzer, images[:2], "one person per picture", clip_vision=clip)
    assert difference(drawn(people), tiny.sample(tiny.model)) > 1e-3
    assert difference(drawn(people), drawn(people, s_scale=0.0)) > 1e-4
    model = apply(tiny, adapter, people=each, expression=None)
    first, second = tiny.sample(model, batch=2)
    assert not torch.equal(first, second)
    # The states stay with a person who is moved away from another.
    moved = tiny.run("IdentityAwayFrom", people, tiny.people(encoder=ENCODER), 0.2)
    assert torch.equal(moved.clip_states[0], people.clip_states[0])
    assert len(moved.photos[0]) == 3 and difference(drawn(moved), drawn(people)) > 1e-4


def test_vision_models_that_are_refused(tiny: Tiny, analyzer: Any, images: Tensor) -> None:
    for kind in ("siglip_vision_model", "dinov2"):

        class Other:
            model_type = kind

        with pytest.raises(ValueError, match=f"is {kind}, and FaceID-Plus reads CLIP's") as error:
            encode(tiny, analyzer, images, "one person", clip_vision=Other())
        assert "\n" not in str(error.value)
    wide = encode(tiny, analyzer, images, "one person", clip_vision=small_clip(64))
    with pytest.raises(ValueError, match="64 numbers, the adapter reads 160"):
        apply(tiny, random_published(tiny, "PLUS_V2"), people=wide, expression=None)


def test_face_without_points(tiny: Tiny, analyzer: Any, clip: Any, images: Tensor) -> None:
    faces = faces_of(tiny, images)
    bare = replace(faces.images[0][0], five=None, scheme="none", landmarks=torch.zeros(0, 2))
    found = type(faces)(((bare,),) * len(images))
    with pytest.raises(ValueError, match="points"):
        tiny.run("EncodeIdentity", analyzer, images, "one person", found, clip_vision=clip)
