"""Both modes in one sampling: exact at its ends, correct in between, and no weights changed."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from torch import Tensor

CLOSE = 1e-4
VISIBLE = 1e-2
TEXT_CFG, FACE_CFG = 3.0, 2.0
Conds = tuple[Any, Any]


def black() -> Tensor:
    return torch.zeros(1, 128, 128)


def white() -> Tensor:
    return torch.ones(1, 128, 128)


def left() -> Tensor:
    mask = black()
    mask[:, :, :64] = 1
    return mask


def text_conds(tiny: Tiny) -> Conds:
    return tiny.prompt("a close-up photo of a person with red hair"), tiny.prompt("")


def face_conds(tiny: Tiny) -> Conds:
    """With the person in the prompt and a pose, as in a workflow."""
    import nodes

    prompt = tiny.run("EncodePrompt", tiny.clip, tiny.adapter, "a photo of *", tiny.people())
    image = tiny.run("PoseFromAngles", 30.0, 0.0, 0.0, 128)[1]
    apply = nodes.ControlNetApplyAdvanced().apply_controlnet
    return apply(prompt, tiny.prompt(""), tiny.control, image, 1.0, 0.0, 1.0)


def joint(tiny: Tiny, mask: Tensor, **changes: Any) -> Any:
    """The node with its usual inputs."""
    positive, negative = text_conds(tiny)
    face_positive, face_negative = face_conds(tiny)
    inputs = {
        "model": tiny.model, "positive": positive, "negative": negative,
        "face_model": tiny.apply(mode="runtime"), "face_positive": face_positive,
        "face_negative": face_negative, "mask": mask, "cfg": TEXT_CFG, "face_cfg": FACE_CFG,
        "start_percent": 0.0, "end_percent": 1.0, "feather": 0.0,
    }  # fmt: skip
    return tiny.run("JointGuider", **{**inputs, **changes})


def single(model: Any, conds: Conds, cfg: float) -> Any:
    """The core guider of one mode."""
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(*conds)
    guider.set_cfg(cfg)
    return guider


def draw(tiny: Tiny, guider: Any, *, batch: int = 1, steps: int = 3, **options: Any) -> Tensor:
    """What SamplerCustomAdvanced does."""
    import comfy.sample
    import comfy.samplers

    levels = tiny.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(levels, "normal", steps)
    latent = options.pop("latent", torch.zeros(batch, 4, 16, 16))
    sampler = comfy.samplers.sampler_object(options.pop("sampler", "euler"))
    with torch.inference_mode():
        noise = comfy.sample.prepare_noise(latent, 1)
        return guider.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=1, **options)


def always_mixed(tiny: Tiny, guider: Any) -> Any:
    """The guider without its short cuts: both modes are computed in every step."""
    blend_mask = guider.blend_mask
    guider.blend_mask = copy.copy(blend_mask)
    guider.blend_mask.alone = lambda sigma: None
    return guider


@pytest.fixture(scope="module")
def text_only(tiny: Tiny) -> Tensor:
    return draw(tiny, single(tiny.model, text_conds(tiny), TEXT_CFG))


@pytest.fixture(scope="module")
def face_only(tiny: Tiny) -> Tensor:
    return draw(tiny, single(tiny.apply(mode="runtime"), face_conds(tiny), FACE_CFG))


def test_the_two_modes_differ(text_only: Tensor, face_only: Tensor) -> None:
    assert difference(face_only, text_only) > VISIBLE


EMPTY: list[dict[str, Any]] = [
    {"mask": black()},
    {"mask": white(), "start_percent": 0.5, "end_percent": 0.5},
    {"mask": white(), "start_percent": 1.0, "end_percent": 0.0},
]


@pytest.mark.parametrize("empty", EMPTY, ids=["black mask", "empty range", "reversed range"])
def test_a_black_mask_is_text_editing_to_the_bit(
    tiny: Tiny, text_only: Tensor, empty: dict[str, Any]
) -> None:
    assert torch.equal(draw(tiny, joint(tiny, **empty)), text_only)


@pytest.mark.parametrize("mode", ["weights", "runtime"])
def test_a_white_mask_is_face_generation_to_the_bit(tiny: Tiny, mode: str) -> None:
    model = tiny.apply(mode=mode)
    alone = draw(tiny, single(model, face_conds(tiny), FACE_CFG))
    assert torch.equal(draw(tiny, joint(tiny, white(), face_model=model)), alone)


@pytest.mark.parametrize("blend_mask", [0, 1])
def test_the_mix_itself_is_exact_at_both_ends(
    tiny: Tiny, text_only: Tensor, face_only: Tensor, blend_mask: int
) -> None:
    """As above with both modes computed in every step: a mask predicted later may be empty."""
    guider = always_mixed(tiny, joint(tiny, left()))
    guider.blend_mask.at = lambda sigma, scene, face: torch.full((1, 1, 16, 16), float(blend_mask))
    assert torch.equal(draw(tiny, guider), (text_only, face_only)[blend_mask])


def test_short_cuts_change_nothing(tiny: Tiny) -> None:
    """A white mask in part of the steps, with and without computing a mode that has no weight."""
    ranged = {"start_percent": 0.3, "end_percent": 0.9}
    short = draw(tiny, joint(tiny, white(), **ranged), steps=6)
    guider = joint(tiny, white(), **ranged)
    blend_mask = guider.blend_mask
    at, alone = blend_mask.at, blend_mask.alone
    guider = always_mixed(tiny, guider)
    guider.blend_mask.at = lambda sigma, *both: at(sigma, *both) * (alone(sigma) or 0)
    assert torch.equal(draw(tiny, guider, steps=6), short)


def test_each_side_follows_its_own_mode(tiny: Tiny, text_only: Tensor, face_only: Tensor) -> None:
    """One step from one noise: each place is exactly its mode's, whatever the other generates."""
    guider = joint(tiny, left())
    mixed = draw(tiny, guider, steps=1)
    scene = draw(tiny, single(tiny.model, text_conds(tiny), TEXT_CFG), steps=1)
    face = draw(tiny, single(tiny.apply(mode="runtime"), face_conds(tiny), FACE_CFG), steps=1)
    assert torch.equal(mixed[..., :8], face[..., :8])
    assert torch.equal(mixed[..., 8:], scene[..., 8:])
    whole = draw(tiny, joint(tiny, left()))
    assert difference(whole, text_only) > VISIBLE
    assert difference(whole, face_only) > VISIBLE


def test_white_is_the_face(tiny: Tiny) -> None:
    """The pack's polarity, as in every node with a mask: white = redraw."""
    schema = next(
        n for n in tiny.module("nodes").NODES if n.__name__ == "JointGuider"
    ).define_schema()
    mask = next(item for item in schema.inputs if item.id == "mask")
    assert "white = face-generation mode, black = the scene" in mask.tooltip


@pytest.mark.parametrize("kind", ["soft", "small", "large"])
def test_masks_of_any_size_and_softness(tiny: Tiny, kind: str) -> None:
    mask = {"soft": 0.5 * left(), "small": left()[:, ::16, ::16], "large": left()}[kind]
    if kind == "large":
        mask = mask.repeat_interleave(5, 1).repeat_interleave(5, 2)
    mixed = draw(tiny, joint(tiny, mask))
    hard = draw(tiny, joint(tiny, left()))
    if kind == "soft":
        assert difference(mixed, hard) > 1e-3
    else:
        assert torch.equal(mixed, hard)


def test_blend_mask_of_latents_that_are_not_square(tiny: Tiny) -> None:
    """The upper part of a portrait, in latents of other shapes than the mask's."""
    mask = torch.zeros(1, 64, 32)
    mask[:, :24] = 1
    fixed = tiny.module("nodes.host.dense_face.blend_mask").FixedBlendMask(mask, (9.0, 0.0))
    for height, width in ((32, 16), (8, 24), (16, 8)):
        latent = torch.zeros(1, 4, height, width)
        expected = torch.zeros(1, 1, height, width)
        expected[:, :, : height * 3 // 8] = 1
        assert torch.equal(fixed.at(1.0, latent, latent), expected)


def test_feather_fades_inside_the_mask_only(tiny: Tiny) -> None:
    at = joint(tiny, left(), feather=3.0).blend_mask.at
    latent = torch.zeros(1, 4, 16, 16)
    blend_mask = at(1.0, latent, latent)
    assert bool((blend_mask[..., 8:] == 0).all()) and bool((blend_mask[..., :3] > 0.95).all())
    middle = blend_mask[0, 0, 8, 4:8]
    assert bool((middle.diff() < 0).all()) and 0 < middle[-1] < middle[0] <= 1


@pytest.mark.parametrize("masks", [1, 3])
def test_batch_of_three(tiny: Tiny, masks: int) -> None:
    mask = torch.cat([left(), left().flip(2), 0.5 * white()])[:masks]
    together = draw(tiny, joint(tiny, mask), batch=3, steps=1)
    one_noise = torch.zeros(3, 4, 16, 16)
    for i in range(3):
        alone = joint(tiny, mask[min(i, masks - 1)][None])
        assert difference(together[i], draw(tiny, alone, latent=one_noise, steps=1)[i]) < CLOSE


def test_wrong_number_of_masks_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="2 masks for a batch of 3 images"):
        draw(tiny, joint(tiny, left().repeat(2, 1, 1)), batch=3)


def test_cfg_1_of_either_mode(tiny: Tiny) -> None:
    """Each guidance belongs to its mode, and 1 leaves the negative prompt out."""
    mixed = draw(tiny, joint(tiny, left(), cfg=1.0, face_cfg=1.0), steps=1)
    scene = draw(tiny, single(tiny.model, text_conds(tiny), 1.0), steps=1)
    face = draw(tiny, single(tiny.apply(mode="runtime"), face_conds(tiny), 1.0), steps=1)
    assert torch.equal(mixed[..., 8:], scene[..., 8:])
    assert torch.equal(mixed[..., :8], face[..., :8])
    assert difference(mixed, draw(tiny, joint(tiny, left()), steps=1)) > 1e-3


def test_area_prompts_of_one_mode_stay_in_it(tiny: Tiny) -> None:
    positive, negative = face_conds(tiny)
    areas = [[c, {**d, "area": (16, 8, 0, x)}] for x in (0, 8) for c, d in positive]
    mixed = draw(tiny, joint(tiny, left(), face_positive=areas), steps=1)
    scene = draw(tiny, single(tiny.model, text_conds(tiny), TEXT_CFG), steps=1)
    face = draw(tiny, single(tiny.apply(mode="runtime"), (areas, negative), FACE_CFG), steps=1)
    assert torch.equal(mixed[..., 8:], scene[..., 8:])
    assert torch.equal(mixed[..., :8], face[..., :8])


def test_noise_mask_and_ancestral_sampler(tiny: Tiny) -> None:
    scene = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(9))
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    drawn = draw(
        tiny, joint(tiny, left()), latent=scene, denoise_mask=mask, sampler="euler_ancestral"
    )
    assert (drawn[..., :4] - scene[..., :4]).abs().max() < 1e-5
    assert difference(drawn[..., 4:12, 4:12], scene[..., 4:12, 4:12]) > 0.1


def test_both_modes_of_an_inpainting_model_see_the_noise_mask(tiny: Tiny) -> None:
    from sfsr_in_host import inpainting

    nine = inpainting(tiny)
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:12, 2:14] = 1
    scene = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(9))
    face = tiny.prompt("a person with a hat"), tiny.prompt("")
    sides = {"face_positive": face[0], "face_negative": face[1]}
    inputs: dict[str, Any] = {"latent": scene, "denoise_mask": mask, "steps": 1}
    mixed = draw(tiny, joint(tiny, left(), model=nine, face_model=nine, **sides), **inputs)
    alone = draw(tiny, single(nine, face, FACE_CFG), **inputs)
    text = draw(tiny, single(nine, text_conds(tiny), TEXT_CFG), **inputs)
    assert torch.equal(mixed[..., :8], alone[..., :8])
    assert torch.equal(mixed[..., 8:], text[..., 8:])
    assert difference(alone, text) > 1e-3


def test_adapter_in_the_weights_is_taken_out_of_them(tiny: Tiny) -> None:
    """One network cannot have two sets of weights in one step: the same image all the same."""
    runtime = draw(tiny, joint(tiny, left()))
    weights = draw(tiny, joint(tiny, left(), face_model=tiny.apply(mode="weights")))
    assert difference(weights, runtime) < CLOSE


def test_two_people_in_one_image(tiny: Tiny) -> None:
    """Both MODELs adapted, each by weights: neither may keep them."""
    one, other = (tiny.apply(people=tiny.people(seed=s), mode="weights") for s in (1, 2))
    mixed = draw(tiny, joint(tiny, left(), model=one, face_model=other), steps=1)
    first = draw(tiny, single(one, text_conds(tiny), TEXT_CFG), steps=1)
    second = draw(tiny, single(other, face_conds(tiny), FACE_CFG), steps=1)
    assert difference(mixed[..., 8:], first[..., 8:]) < CLOSE
    assert difference(mixed[..., :8], second[..., :8]) < CLOSE


LORA = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def with_lora(tiny: Tiny, model: Any) -> Any:
    shape = tiny.model.model.state_dict()[LORA].shape
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    patched = model.clone()
    patched.add_patches({LORA: ("diff", (noise,))}, 0.2)
    return patched


def test_lora_before_both_modes_acts_in_both(tiny: Tiny) -> None:
    base = with_lora(tiny, tiny.model)
    for mode in ("weights", "runtime"):
        face = tiny.apply(base, mode=mode)
        mixed = draw(tiny, joint(tiny, left(), model=base, face_model=face), steps=1)
        scene = draw(tiny, single(base, text_conds(tiny), TEXT_CFG), steps=1)
        drawn = draw(tiny, single(face, face_conds(tiny), FACE_CFG), steps=1)
        assert difference(mixed[..., 8:], scene[..., 8:]) < CLOSE
        assert difference(mixed[..., :8], drawn[..., :8]) < CLOSE


def test_lora_on_one_mode_alone_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"one network.*LoRA.*load the checkpoint a second time"):
        joint(tiny, left(), face_model=with_lora(tiny, tiny.apply()))


def test_two_checkpoints(tiny: Tiny) -> None:
    """The release's own case: text editing has weights of its own."""
    import comfy.model_management as mm

    mm.unload_all_models()
    second = tiny.model.clone(force_deepcopy=True)
    face = with_lora(tiny, tiny.apply(second, mode="weights"))
    mixed = draw(tiny, joint(tiny, left(), face_model=face), steps=1)
    scene = draw(tiny, single(tiny.model, text_conds(tiny), TEXT_CFG), steps=1)
    drawn = draw(tiny, single(face, face_conds(tiny), FACE_CFG), steps=1)
    assert difference(mixed[..., 8:], scene[..., 8:]) < CLOSE
    assert difference(mixed[..., :8], drawn[..., :8]) < CLOSE
    without = draw(tiny, single(tiny.apply(second), face_conds(tiny), FACE_CFG), steps=1)
    assert difference(drawn, without) > 1e-3  # the LoRA is seen


def test_neighbours_of_the_face_model_stay_on_its_side(tiny: Tiny) -> None:
    """A pack that changes the guidance of face_model changes nothing in the scene."""
    calls = []

    def louder(args: dict[str, Any]) -> Tensor:
        calls.append(1)
        return 1.5 * args["denoised"]

    face = tiny.apply(mode="runtime").clone()
    face.set_model_sampler_post_cfg_function(louder)
    mixed = draw(tiny, joint(tiny, left(), face_model=face), steps=1)
    plain = draw(tiny, joint(tiny, left()), steps=1)
    assert calls
    assert torch.equal(mixed[..., 8:], plain[..., 8:])
    assert difference(mixed[..., :8], plain[..., :8]) > 1e-2


def test_interruption_leaves_both_models_as_they_were(tiny: Tiny, text_only: Tensor) -> None:
    import comfy.model_management as mm

    guider = joint(tiny, left())
    first = draw(tiny, guider)

    def stop(step: int, *_: Any) -> None:
        if step == 1:
            raise mm.InterruptProcessingException

    with pytest.raises(mm.InterruptProcessingException):
        draw(tiny, guider, callback=stop)
    assert tiny.model.model.current_patcher is None
    assert guider._face_options == {}
    assert torch.equal(draw(tiny, single(tiny.model, text_conds(tiny), TEXT_CFG)), text_only)
    assert torch.equal(draw(tiny, guider), first)


class FailureError(RuntimeError):
    """Of a neighbour, in the middle of a sampling."""


@pytest.mark.parametrize("of_the_face", [True, False], ids=["face mode", "text mode"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_failure_in_either_mode_leaves_the_guider_as_it_was(
    tiny: Tiny, of_the_face: bool, call: int
) -> None:
    calls, failing = 0, False

    def wrapper(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        nonlocal calls
        calls += failing
        if failing and calls == call:
            raise FailureError
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    name, model = (
        ("face_model", tiny.apply(mode="runtime")) if of_the_face else ("model", tiny.model)
    )
    watched = model.clone()
    watched.set_model_unet_function_wrapper(wrapper)
    guider = joint(tiny, left(), **{name: watched})
    # An adapter at run time is itself one of the networks that a MODEL brings along.
    own = [each.model_patcher.get_additional_models() for each in (guider, guider.face)]
    first = draw(tiny, guider)
    failing = True
    with pytest.raises(FailureError):
        draw(tiny, guider)
    assert calls == call
    failing = False
    for each, models in zip((guider, guider.face), own, strict=True):
        assert each.model_patcher.get_additional_models() == models
        assert each.model_patcher.model.current_patcher is None
    assert guider._face_options == {}
    assert torch.equal(draw(tiny, guider), first)


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.5), (0.25, 0.75), (0.5, 1.0), (0.0, 1.0)])
def test_face_mode_runs_in_its_percent_range_alone(tiny: Tiny, start: float, end: float) -> None:
    import comfy.samplers

    seen: list[float] = []

    def wrapper(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        seen.append(float(arguments["timestep"].flatten()[0]))
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    model = tiny.apply(mode="runtime").clone()
    model.set_model_unet_function_wrapper(wrapper)
    draw(tiny, joint(tiny, left(), face_model=model, start_percent=start, end_percent=end), steps=8)
    levels = tiny.model.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(levels, "normal", 8)[:-1].tolist()
    first, last = (float(levels.percent_to_sigma(percent)) for percent in (start, end))
    assert sorted(set(seen), reverse=True) == [s for s in sigmas if last <= s <= first]


def test_each_mode_runs_under_its_own_patcher(tiny: Tiny) -> None:
    """Of the clones of one network: hooks and patches of the other must not act."""
    net, seen = tiny.model.model, []

    def wrapper(apply_model: Any, arguments: dict[str, Any]) -> Tensor:
        seen.append(net.current_patcher)
        return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

    face = tiny.apply(mode="runtime")
    text = tiny.model.clone()
    for model in (text, face):
        model.set_model_unet_function_wrapper(wrapper)
    guider = joint(tiny, left(), model=text, face_model=face)
    draw(tiny, guider)
    patchers = guider.model_patcher, guider.face.model_patcher
    assert [each is patchers[i % 2] for i, each in enumerate(seen)] == [True] * 6


def test_the_range_includes_its_ends(tiny: Tiny) -> None:
    mask = tiny.module("nodes.host.dense_face.blend_mask").FixedBlendMask(white(), (5.0, 2.0))
    assert [mask.alone(sigma) for sigma in (5.1, 5.0, 2.0, 1.9)] == [0, 1, 1, 0]


def test_same_guider_again_and_again(tiny: Tiny) -> None:
    guider = joint(tiny, left())
    first = draw(tiny, guider)
    for _ in range(3):
        assert torch.equal(draw(tiny, guider), first)
    assert guider.model_patcher.get_additional_models() == []
    assert tiny.model.patches == {} and not any(tiny.model.wrappers.values())


def test_nothing_to_do_gives_the_input_back(tiny: Tiny) -> None:
    import comfy.samplers

    latent = torch.zeros(1, 4, 16, 16)
    sampler = comfy.samplers.sampler_object("euler")
    done = joint(tiny, left()).sample(latent, latent, sampler, torch.FloatTensor([]))
    assert done is latent


def test_mask_of_nan_is_refused(tiny: Tiny) -> None:
    for bad in (float("nan"), 255.0, -1.0):
        mask = left()
        mask[0, 0, 0] = bad
        with pytest.raises(ValueError, match=r"outside 0\.\.1.*white \(1\) is redrawn"):
            joint(tiny, mask)


def test_models_of_other_latents_are_refused(tiny: Tiny) -> None:
    import comfy.model_sampling

    class Flow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
        pass

    flow = tiny.apply(mode="runtime").clone()
    flow.add_object_patch("model_sampling", Flow())
    with pytest.raises(ValueError, match="same kind of latents"):
        joint(tiny, left(), face_model=flow)


def test_cfg_pp_samplers_are_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"CFG\+\+.*without cfg_pp"):
        draw(tiny, joint(tiny, left()), sampler="euler_cfg_pp")
