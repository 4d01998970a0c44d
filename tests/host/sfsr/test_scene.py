"""The scene as an input, and SFSR agreeing with the diffusers binding."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import torch
from comfyui_dense_face.dense_face.checkpoints.adapter_file import load_adapter as load_dense
from comfyui_dense_face.pipelines.attention import InstalledAdapter
from comfyui_dense_face.pipelines.base import load_base
from comfyui_dense_face.pipelines.source_attention import InstalledSources, SourceInputs
from comfyui_dense_face.sfsr.adapter import SFSRAdapter
from in_host import Tiny, difference
from sfsr_in_host import (
    apply,
    background,
    expressions,
    face_mask,
    inpainting,
    random_adapter,
    scene,
)
from torch import Tensor

CLOSE, SEEN = 1e-4, 1e-3
ONLY_SCENE = {"identity_weight": 0.0, "expression_weight": 0.0}


@pytest.fixture(scope="module")
def adapter(tiny: Tiny) -> Any:
    return random_adapter(tiny)


def halves(tiny: Tiny, model: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(x, eps with prompt, eps without) of the first step, at the highest noise level."""
    seen: dict[str, Tensor] = {}

    def capture(source_inputs: dict[str, Any]) -> Tensor:
        seen.update({k: v for k, v in source_inputs.items() if torch.is_tensor(v)})
        return source_inputs["denoised"]

    watched = model.clone()
    watched.set_model_sampler_post_cfg_function(capture)
    tiny.sample(watched, steps=1, **options)
    x, sigma = seen["input"], seen["sigma"].reshape(-1, 1, 1, 1)
    cond, uncond = ((x - seen[f"{half}_denoised"]) / sigma for half in ("cond", "uncond"))
    return x / (1 + sigma**2).sqrt(), cond, uncond


@pytest.mark.parametrize("dense", [False, True], ids=["alone", "with Dense-Face"])
def test_same_prediction_as_on_diffusers(tiny: Tiny, adapter: Any, dense: bool) -> None:
    """Two images with faces of their own, a mask, the scene; both halves of one step."""
    place, faces = background(tiny)[0], expressions(tiny, {"jawOpen": 1.0}, {"mouthSmileLeft": 1.0})
    model = tiny.apply() if dense else tiny.model
    mask, weights = face_mask(), {"identity_weight": 0.8, "expression_weight": 1.3}
    with torch.inference_mode():
        source_inputs = {"expression": faces, "mask": mask, "background": place}
        model = apply(tiny, adapter, model, **source_inputs, **weights)
        x, cond, uncond = halves(tiny, model, batch=2)
        text, empty = (
            tiny.prompt(words)[0][0] for words in ("a close-up photo of a person with red hair", "")
        )
    ours = SFSRAdapter(adapter.adapter.layout, adapter.adapter.layers, 64)
    ours.load_state_dict(adapter.adapter.state_dict())
    people = tiny.people()
    who, face = adapter.tokens.identity((people,)), adapter.tokens.expression(faces, None)
    two = {"identity": who.present, "expression": face.present}
    channels = place.channels(lambda latent: 0.18215 * latent)
    with ExitStack() as installed, torch.no_grad():
        unet = load_base(tiny.folder / "tiny_base.safetensors").unet
        if dense:
            parts = load_dense(tiny.folder / "tiny_dense_face.safetensors")
            vectors = people.vectors.expand(2, -1)
            installed.enter_context(InstalledAdapter(unet, parts.adapter, vectors))
        sources = {"identity": 0.8, "expression": 1.3}
        at_work = installed.enter_context(InstalledSources(unet, [ours.eval()]))
        at_work.source_inputs = SourceInputs(two, sources, mask, channels)
        with_prompt = unet(x, torch.tensor(999), text.expand(2, -1, -1)).sample
        at_work.source_inputs = SourceInputs(two, {}, None, channels)
        without = unet(x, torch.tensor(999), empty.expand(2, -1, -1)).sample
    assert difference(cond, with_prompt) < CLOSE
    assert difference(uncond, without) < CLOSE
    assert difference(with_prompt, without) > SEEN


def test_scene_acts_in_both_halves(tiny: Tiny, adapter: Any) -> None:
    place = background(tiny)[0]
    model = apply(tiny, adapter, background=place, **ONLY_SCENE)
    _, cond, uncond = halves(tiny, model)
    _, plain, bare = halves(tiny, tiny.model)
    assert difference(cond, plain) > SEEN and difference(uncond, bare) > SEEN


def test_pixels_under_the_mask_do_not_matter(tiny: Tiny, adapter: Any) -> None:
    """Two scenes that differ in the face alone give the same image, bit for bit."""
    one, other = scene(), scene()
    inside = face_mask()[0].bool()
    other[0, inside] = 1 - other[0, inside]
    drawn = [
        tiny.sample(apply(tiny, adapter, background=background(tiny, image)[0]), steps=1)
        for image in (one, other)
    ]
    assert torch.equal(*drawn)


def test_areas_get_their_part_of_the_scene(tiny: Tiny, adapter: Any) -> None:
    """One area of the whole image is no area; two halves each get their own."""
    place = background(tiny)[0]
    model = apply(tiny, adapter, background=place, **ONLY_SCENE)
    text = tiny.prompt("a person")[0]
    whole = [[text[0], {**text[1], "area": (16, 16, 0, 0)}]]
    drawn = tiny.sample(model, tiny.prompt("a person"), steps=1)
    assert difference(tiny.sample(model, whole, steps=1), drawn) < CLOSE
    right = [[text[0], {**text[1], "area": (16, 8, 0, 8)}]]
    left_changed = scene()
    left_changed[:, :, :32] = 0
    other = apply(tiny, adapter, background=background(tiny, left_changed)[0], **ONLY_SCENE)
    plain = tiny.model.clone()
    parts = [tiny.sample(m, right, right, steps=1) for m in (model, other, plain)]
    # The VAE's own reach is wide: the far side of the scene counts a little, the near one much.
    far, near = (difference(parts[0], part) for part in parts[1:])
    assert far < near


@pytest.mark.parametrize("sizes", [{"size": 8}, {"batch": 3}])
def test_scene_of_another_size_or_number(tiny: Tiny, adapter: Any, sizes: dict[str, int]) -> None:
    images = scene(count=2) if "batch" in sizes else scene()
    model = apply(tiny, adapter, background=background(tiny, images)[0])
    says = "2 scenes for a batch of 3" if "batch" in sizes else r"scene has 128x128 px.* 64x64"
    with pytest.raises(ValueError, match=says):
        tiny.sample(model, steps=1, **sizes)


def test_a_scene_for_each_image(tiny: Tiny, adapter: Any) -> None:
    both = background(tiny, torch.cat([scene(1), scene(2)]))[0]
    together = tiny.sample(apply(tiny, adapter, background=both), steps=1, batch=2)
    for i, seed in enumerate((1, 2)):
        alone = apply(tiny, adapter, background=background(tiny, scene(seed))[0])
        assert difference(together[i], tiny.sample(alone, steps=1, batch=2)[i]) < CLOSE


def test_inpainting_models_take_the_scene_as_channels(tiny: Tiny, adapter: Any) -> None:
    """The same as the host's own inpainting conditioning of the emptied scene."""
    import node_helpers

    nine = inpainting(tiny)
    place, _, emptied = background(tiny)
    ours = tiny.sample(apply(tiny, adapter, nine, background=place, **ONLY_SCENE), steps=1)
    with torch.inference_mode():
        small = torch.nn.functional.adaptive_max_pool2d(place.mask, (16, 16))
        source_inputs = {"concat_latent_image": tiny.vae.encode(emptied), "concat_mask": small}
        conds = [
            node_helpers.conditioning_set_values(tiny.prompt(words), source_inputs)
            for words in ("a close-up photo of a person with red hair", "")
        ]
    assert difference(ours, tiny.sample(nine, *conds, steps=1)) < 1e-5
    unmasked = apply(tiny, adapter, nine)
    with pytest.raises(ValueError, match="inpainting model, and nothing says what"):
        tiny.sample(unmasked, steps=1)
    tiny.sample(unmasked, *conds, steps=1)
    tiny.sample(unmasked, steps=1, noise_mask=face_mask())


def test_without_hint_the_latent_is_blended(tiny: Tiny) -> None:
    place, latent, _ = background(tiny)
    model = apply(tiny, random_adapter(tiny, hint=False), background=place)
    with pytest.raises(ValueError, match="no background hint, so the scene must come with"):
        tiny.sample(model, steps=1)
    drawn = tiny.sample(model, steps=4, latent=latent["samples"], noise_mask=latent["noise_mask"])
    small = torch.nn.functional.interpolate(latent["noise_mask"], (16, 16), mode="bilinear")
    kept = small.expand_as(drawn) == 0
    assert torch.allclose(drawn[kept], latent["samples"][kept], atol=1e-4)
    assert difference(drawn[~kept], latent["samples"][~kept]) > 0.1


def test_the_blended_scene_comes_in_little_by_little(tiny: Tiny) -> None:
    """Everything is redrawn in the first step, and the mask alone from 60 % of the steps on."""
    model = apply(tiny, random_adapter(tiny, hint=False), background=background(tiny)[0])
    of_step = model.model_options["denoise_mask_function"]
    mask, sigmas = torch.tensor([0.0, 0.5, 1.0]), torch.linspace(10, 0, 11)
    kept = [1 - of_step(sigma[None], mask, {"sigmas": sigmas}) for sigma in sigmas[:-1]]
    for i, each in enumerate(kept):
        assert torch.allclose(each, (1 - mask) * min(1.0, i / 6)), i


def test_another_packs_function_of_the_noise_mask_stays(tiny: Tiny) -> None:
    def theirs(sigma: Tensor, mask: Tensor, extra_options: Any) -> Tensor:
        return mask

    given = tiny.model.clone()
    given.set_model_denoise_mask_function(theirs)
    model = apply(tiny, random_adapter(tiny, hint=False), given, background=background(tiny)[0])
    assert model.model_options["denoise_mask_function"] is theirs


def test_outputs_of_the_node(tiny: Tiny) -> None:
    image, mask = scene(), face_mask()
    place, latent, emptied = background(tiny, image, mask)
    dilated = place.mask[0, 0].bool()
    assert int(dilated.sum()) > int(mask.sum()) and bool(dilated[mask[0].bool()].all())
    assert bool((emptied[0, dilated] == 0.5).all())
    assert torch.equal(emptied[0, ~dilated], image[0, ~dilated])
    assert latent["samples"].shape == (1, 4, 16, 16)
    # Whole cells of 8 px, as large as fits into the mask.
    cells = -torch.nn.functional.max_pool2d(-place.mask, 8)
    shown = cells.repeat_interleave(8, -1).repeat_interleave(8, -2)
    assert torch.equal(latent["noise_mask"], shown) and 0 < shown.sum() < place.mask.sum()
    new = cells == 1
    new = new.expand_as(latent["samples"])
    with torch.inference_mode():
        whole = tiny.vae.encode(image)
    assert torch.equal(latent["samples"][new], place.latent[new])
    assert torch.equal(latent["samples"][~new], whole[~new])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"mask": torch.zeros(1, 128, 128)}, "the mask covers nothing"),
    ({"mask": torch.ones(1, 128, 128)}, "the mask covers everything"),
    (
        {"mask": torch.nn.functional.pad(torch.ones(1, 6, 6), (1, 121, 1, 121))},
        "the mask is too small",
    ),
    ({"mask": torch.ones(1, 64, 96)}, "the mask has 96x64 px, the scene 128x128"),
    ({"mask": torch.ones(2, 128, 128)}, "there are 2 masks for 1 scenes"),
    ({"image": torch.rand(1, 130, 128, 3), "mask": torch.ones(1, 130, 128)}, "128x130 px"),
    ({"image": torch.full((1, 128, 128, 3), float("nan"))}, "values that are not numbers"),
]


@pytest.mark.parametrize(("given", "says"), BAD, ids=[says for _, says in BAD])
def test_bad_scenes(tiny: Tiny, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        background(tiny, **given)


@pytest.mark.parametrize("hint", [True, False])
def test_scene_of_half_precision(tiny: Tiny, hint: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's --fp16-intermediates: images, masks and latents between nodes are in fp16."""
    import comfy.model_management as mm

    adapter = random_adapter(tiny, hint=hint)
    full = background(tiny)

    def sampled(found: Any) -> Tensor:
        given = {**found[1], "noise_mask": found[1]["noise_mask"][:, 0]}
        model = apply(tiny, adapter, background=found[0], **ONLY_SCENE)
        samples, mask = given["samples"], given["noise_mask"]
        return tiny.sample(model, latent=samples.float(), noise_mask=mask.float())

    monkeypatch.setattr(mm, "intermediate_dtype", lambda: torch.float16)
    half = background(tiny, scene().half(), face_mask().half())
    assert half[1]["samples"].dtype == torch.float16
    assert difference(sampled(half), sampled(full)) < 0.02
