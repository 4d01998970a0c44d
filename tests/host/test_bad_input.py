"""Bad input: one clear sentence before any sampling, and nothing is changed."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from in_host import Tiny
from torch import Tensor, nn


def other_net(net: nn.Module) -> Any:
    """A MODEL of another architecture, as far as an adapter reads it."""
    return SimpleNamespace(model=SimpleNamespace(diffusion_model=net))


def flux(tiny: Tiny) -> Any:
    """No UNet at all: a row of transformer blocks."""
    net = nn.Module()
    net.double_blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
    return other_net(net)


def sdxl(tiny: Tiny) -> Any:
    """A UNet that has no attention where the adapter has one."""
    net = copy.deepcopy(tiny.model.model.diffusion_model)
    net.input_blocks[1] = net.input_blocks[1][:1]
    return other_net(net)


def sd2(tiny: Tiny) -> Any:
    """The same UNet for a text encoder of another width."""
    net = copy.deepcopy(tiny.model.model.diffusion_model)
    for module in net.modules():
        if hasattr(module, "attn2"):
            module.attn2.to_k = nn.Linear(1024, module.attn2.to_k.out_features, bias=False)
            module.attn2.to_v = nn.Linear(1024, module.attn2.to_v.out_features, bias=False)
    return other_net(net)


@pytest.mark.parametrize(
    ("other", "found"), [(flux, "has nothing"), (sdxl, "has nothing"), (sd2, r"has \d+x1024")]
)
@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_models_of_another_kind(
    tiny: Tiny, other: Callable[[Tiny], Any], found: str, mode: str
) -> None:
    message = refused(tiny, lambda: tiny.apply(model=other(tiny), mode=mode))
    assert re.search(rf"does not fit this model: at .*{found}", message)
    assert "Connect a model of the kind the adapter was made for (the bundled tiny" in message


def refused(tiny: Tiny, attempt: Callable[[], Any]) -> str:
    """The error sentence of the attempt; everything else must be as before."""
    patches, options = dict(tiny.model.patches), repr(tiny.model.model_options)
    weights = tiny.adapter.fused.weights
    before = {name: tensor.clone() for name, tensor in weights.items()}
    with pytest.raises(ValueError, match=r"\.$") as caught:
        attempt()
    assert type(caught.value).__module__.endswith("errors"), "not one of our sentences"
    message = str(caught.value)
    assert "\n" not in message
    assert tiny.model.patches == patches and repr(tiny.model.model_options) == options
    assert all(torch.equal(weights[name], tensor) for name, tensor in before.items())
    return message


def test_clip_of_two_encoders(tiny: Tiny) -> None:
    """SDXL's CLIP answers with two lists of tokens."""
    clip = copy.copy(tiny.clip)
    clip.tokenize = lambda text: {"l": [], "g": []}
    run = lambda: tiny.run("EncodePrompt", clip, tiny.adapter, "*", tiny.people())  # noqa: E731
    assert "not of Stable Diffusion 1.x" in refused(tiny, run)


def test_identity_of_another_length(tiny: Tiny) -> None:
    identity = tiny.module("faces.identity").Identity
    vector = nn.functional.normalize(torch.ones(128), dim=0)
    people = type(tiny.people())((identity(vector, "tiny-world"),))
    assert "has 128 numbers, the adapter needs 512" in refused(
        tiny, lambda: tiny.apply(people=people)
    )


def test_identity_of_nan(tiny: Tiny) -> None:
    identity = tiny.module("faces.identity").Identity
    vector = torch.full((512,), float("nan"))
    assert "not numbers" in refused(tiny, lambda: identity(vector, "tiny-world"))


def broken_masks() -> dict[str, Tensor]:
    masks = {name: torch.ones(1, 32, 32) for name in ("nan", "255", "negative")}
    for name, value in (("nan", float("nan")), ("255", 255.0), ("negative", -0.5)):
        masks[name][0, 0, 0] = value
    return masks


@pytest.mark.parametrize("name", list(broken_masks()))
def test_masks_that_are_none(tiny: Tiny, name: str) -> None:
    """The sentence says in words which side is which."""
    mask = broken_masks()[name]
    image = torch.rand(1, 32, 32, 3)
    attempts = (
        lambda: tiny.apply(mask=mask),
        lambda: tiny.run("Composite", image, image, mask, 0.0),
    )
    for attempt in attempts:
        message = refused(tiny, attempt)
        assert "white (1) is redrawn and black (0) is kept" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_images_of_nan(tiny: Tiny, value: float) -> None:
    image, broken = torch.rand(1, 32, 32, 3), torch.rand(1, 32, 32, 3)
    broken[0, 3, 4, 1] = value
    mask, no_places = torch.ones(1, 32, 32), SimpleNamespace(require_places=lambda where: ())
    attempts = (
        lambda: tiny.run("CropFace", None, broken, 64, 0.25),
        lambda: tiny.run("PasteFace", broken, image, no_places, 0.0, False),
        lambda: tiny.run("PasteFace", image, broken, no_places, 0.0, False),
        lambda: tiny.run("Composite", broken, image, mask, 0.0),
        lambda: tiny.run("Composite", image, broken, mask, 0.0),
    )
    for attempt in attempts:
        assert "the image holds values that are not numbers" in refused(tiny, attempt)


@pytest.mark.parametrize(
    "name", ["C:evil", "\\evil", "/evil", "../evil", "..", "", "a\0b", "e" * 320, "NUL", "con/a"]
)
def test_names_of_identities_stay_in_their_folder(tiny: Tiny, name: str) -> None:
    message = refused(tiny, lambda: tiny.run("SaveIdentity", tiny.people(), name))
    assert "cannot be saved under the name" in message


def test_every_mask_says_its_polarity(tiny: Tiny) -> None:
    """Where a mask goes in or comes out, the tooltip says what white means."""
    found = 0
    for node in tiny.module("nodes").NODES:
        schema = node.define_schema()
        for item in (*schema.inputs, *schema.outputs):
            if item.io_type == "MASK":
                found += 1
                said = (item.tooltip or "").lower()
                assert "white" in said, f"{schema.node_id}.{item.id} does not say what white is"
    assert found >= 4


def test_number_of_masks(tiny: Tiny) -> None:
    masked = tiny.apply(mask=torch.rand(2, 32, 32))
    message = refused(tiny, lambda: tiny.sample(masked, batch=3))
    assert "2 masks for a batch of 3 images" in message


def test_model_is_unchanged_after_every_refusal(tiny: Tiny) -> None:
    before = tiny.sample(tiny.model)
    refused(tiny, lambda: tiny.sample(tiny.apply(people=tiny.people(2)), batch=3))
    refused(tiny, lambda: tiny.apply(model=flux(tiny)))
    refused(tiny, lambda: tiny.apply(mode="weights", start_percent=0.5))
    assert torch.equal(tiny.sample(tiny.model), before)
