"""IP-Adapter-FaceID for SDXL on a small network of SDXL's shape, in the host.

The reference is diffusers: its own network with the same weights, its own loader of the same file.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from sdxl_on_diffusers import CFG, ENCODER, LORA, S_SCALE, SIZES, WEIGHT, on_diffusers
from sfsr_in_host import apply, face_mask, loaded, random_published
from small_sdxl import (
    CLIP_STATE,
    POOLED,
    diffusers_unet,
    faceid_tensors,
    host_model,
    prompt,
    small_layers,
    small_target,
)
from torch import Tensor

SEEN, CLOSE = 1e-3, 1e-4
STEPS = 3
SCALE = 0.13025
"""Of SDXL's latents: the host keeps them divided by it."""


@pytest.fixture(scope="module")
def sdxl() -> Any:
    return host_model()


@pytest.fixture(scope="module")
def theirs(sdxl: Any) -> Any:
    """The same network in diffusers; made before anything is patched into the weights."""
    return diffusers_unet(sdxl)


@pytest.fixture(scope="module")
def clip() -> tuple[Tensor, Tensor]:
    """CLIP vision states of a face, and of nobody."""
    states = torch.randn(2, 9, CLIP_STATE, generator=torch.Generator().manual_seed(8))
    return states[:1], states[1:]


@pytest.fixture(scope="module")
def person(tiny: Tiny, clip: tuple[Tensor, Tensor]) -> Any:
    people = tiny.module("nodes.sockets").People
    who = tiny.people(encoder=ENCODER).identities
    return people(who, None, (clip[0],), clip[1])


Made = Callable[..., Any]
"""Kind and rank -> SFSR_ADAPTER."""


@pytest.fixture(scope="module")
def adapter(tiny: Tiny) -> Made:
    """Each is made once."""

    @cache
    def made(kind: str, rank: int = 0) -> Any:
        found = tiny.module("sfsr.ip_adapter.load").published_adapter(
            faceid_tensors(tiny.module, kind, rank),
            shortcut=kind == "PLUS_V2",
            target=small_target(tiny.module),
        )
        return loaded(tiny, found)

    return made


def sampled(tiny: Tiny, model: Any, **options: Any) -> Tensor:
    return tiny.sample(model, prompt(1), prompt(2), **options)


@pytest.mark.parametrize(
    ("kind", "rank", "masked"),
    [("FACEID", 4, True), ("PLUS", 4, False), ("PLUS_V2", 4, False), ("PORTRAIT", 0, False)],
)
def test_a_whole_denoising_is_the_same_on_diffusers(
    tiny: Tiny,
    sdxl: Any,
    theirs: Any,
    adapter: Made,
    person: Any,
    clip: Any,
    kind: str,
    rank: int,
    masked: bool,
) -> None:
    """Every step, both halves; also with a mask, and with strengths other than 1."""
    import comfy.sample
    import comfy.samplers

    mask = face_mask() if masked else None
    settings = {"identity_weight": WEIGHT, "lora_strength": LORA, "s_scale": S_SCALE, "mask": mask}
    model = apply(tiny, adapter(kind, rank), sdxl, person, expression=None, **settings)
    host = sampled(tiny, model, steps=STEPS, cfg=CFG)
    sampling = sdxl.get_model_object("model_sampling")
    sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", STEPS)
    x = comfy.sample.prepare_noise(torch.zeros(1, 4, 16, 16), 1) * (1 + sigmas[0] ** 2).sqrt()
    with torch.no_grad(), on_diffusers(theirs, person, clip, kind, rank, mask) as predict:
        for sigma, following in pairwise(sigmas):
            noise = predict(x / (1 + sigma**2).sqrt(), sampling.timestep(sigma[None])[0])
            x = x + (following - sigma) * noise
    found = x / SCALE
    assert difference(found, host) < CLOSE
    assert difference(found, sampled(tiny, sdxl, steps=STEPS, cfg=CFG)) > SEEN


@pytest.mark.parametrize(
    ("kind", "rank"), [("FACEID", 4), ("PLUS", 4), ("PLUS_V2", 4), ("PORTRAIT", 0)]
)
def test_the_network_predicts_what_diffusers_does(
    tiny: Tiny, sdxl: Any, theirs: Any, adapter: Made, person: Any, clip: Any, kind: str, rank: int
) -> None:
    model = apply(tiny, adapter(kind, rank), sdxl, person, expression=None, identity_weight=0.7)
    calls: list[tuple[Any, Any, Tensor]] = []

    def keep(_: Any, args: Any, kwargs: Any, out: Tensor) -> None:
        calls.append((args, kwargs, out.clone()))

    hook = model.model.diffusion_model.register_forward_hook(keep, with_kwargs=True)
    try:
        sampled(tiny, model, steps=1)
    finally:
        hook.remove()
    ((args, kwargs, ours),) = calls
    halves = kwargs["transformer_options"]["cond_or_uncond"]
    assert sorted(halves) == [0, 1]
    vectors = torch.stack([torch.zeros(512), person.identities[0].vector])
    present = [1 if half == 0 else 0 for half in halves]
    with torch.inference_mode():
        unet = deepcopy(theirs)
        _with_file(unet, faceid_tensors(tiny.module, kind, rank))
        unet.set_attn_processor(_scaled(unet.attn_processors, 0.7))
        if kind.startswith("PLUS"):
            projection = unet.encoder_hid_proj.image_projection_layers[0]
            projection.clip_embeds = torch.stack([clip[1], clip[0]])[present]
            projection.shortcut = kind == "PLUS_V2"
        x, t, context = args[0], args[1], kwargs.get("context", args[2] if len(args) > 2 else None)
        added = {
            "image_embeds": [vectors[present][:, None]],
            "text_embeds": kwargs["y"][:, :POOLED],
            "time_ids": torch.tensor([SIZES] * len(x)),
        }
        expected = unet(x, t, context, added_cond_kwargs=added).sample
    assert difference(ours, expected) < CLOSE


def _with_file(unet: Any, tensors: dict[str, Tensor]) -> None:
    """The file by diffusers' own loader; its LoRA by the order of diffusers' attentions."""
    parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    lora = {k: parts["ip_adapter"].pop(k) for k in list(parts["ip_adapter"]) if "_lora" in k}
    places = [name.removesuffix(".processor") for name in unet.attn_processors]
    for name, down in lora.items():
        if ".down." in name:
            number, projection, _ = name.split(".", 2)
            own = projection.removesuffix("_lora").replace("to_out", "to_out.0")
            weight = unet.get_submodule(f"{places[int(number)]}.{own}").weight
            weight += lora[name.replace(".down.", ".up.")] @ down
    unet._load_ip_adapter_weights([parts], low_cpu_mem_usage=False)


def _scaled(processors: dict[str, Any], weight: float) -> dict[str, Any]:
    for processor in processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [weight]
    return processors


def test_every_transformer_has_a_slot_of_its_own(
    tiny: Tiny, sdxl: Any, adapter: Made, person: Any
) -> None:
    model = apply(tiny, adapter("FACEID", 4), sdxl, person, expression=None)
    slots = model.model_options["transformer_options"]["patches_replace"]["attn2"]
    sides = {"input_blocks": "input", "output_blocks": "output", "middle_block": "middle"}
    wanted = set()
    for layer in small_layers():
        block, index = layer.split(".transformer_blocks.")
        side, _, number = block.partition(".")
        wanted.add((sides[side], int(number or 0), int(index)))
    assert set(slots) == wanted and len(model.patches) == 8 * len(wanted)
    assert sdxl.patches == {} and "patches_replace" not in sdxl.model_options.get(
        "transformer_options", {}
    )


def test_weight_range_and_mask(tiny: Tiny, sdxl: Any, adapter: Made, person: Any) -> None:
    faceid = adapter("FACEID", 4)

    def drawn(**changes: Any) -> Tensor:
        model = apply(tiny, faceid, sdxl, person, expression=None, **changes)
        return sampled(tiny, model, steps=1)

    base, full = sampled(tiny, sdxl, steps=1), drawn()
    assert difference(full, base) > SEEN
    for nothing in ({"identity_weight": 0.0}, {"identity_end_percent": 0.0}):
        assert apply(tiny, faceid, sdxl, person, expression=None, **nothing) is sdxl
    assert difference(drawn(identity_weight=0.5), full) > SEEN
    unpatched = drawn(lora_strength=0.0)
    assert difference(unpatched, full) > SEEN
    # The only step is the first one: a range that begins later leaves it to the base.
    assert torch.equal(drawn(lora_strength=0.0, identity_start_percent=0.5), base)
    half = torch.zeros(1, 128, 128)
    half[:, :, :64] = 1
    assert difference(drawn(mask=torch.ones_like(half)), full) < CLOSE
    masked = drawn(mask=half)
    assert difference(masked, full) > SEEN and difference(masked, base) > SEEN


def test_split_guidance(tiny: Tiny, sdxl: Any, adapter: Made, person: Any) -> None:
    model = apply(tiny, adapter("PORTRAIT"), sdxl, person, expression=None)
    plain = sampled(tiny, model, steps=1)

    def guided(*scales: float) -> Tensor:
        import comfy.sample
        import comfy.samplers

        guider = tiny.run("SplitGuidance", model, prompt(1), prompt(2), *scales)
        latent = torch.zeros(1, 4, 16, 16)
        with torch.inference_mode():
            noise = comfy.sample.prepare_noise(latent, 1)
            sigmas = comfy.samplers.calculate_sigmas(
                model.get_model_object("model_sampling"), "normal", 1
            )
            sampler = comfy.samplers.sampler_object("euler")
            return guider.sample(noise, latent, sampler, sigmas, seed=1, disable_pbar=True)

    assert torch.equal(guided(3.0, 3.0, 3.0), plain)
    assert difference(guided(3.0, 0.0, 3.0), plain) > SEEN


class Foreign:
    """A patch of another pack in a replace slot; scales the layer's output."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: Any) -> Tensor:
        from comfy.ldm.modules.attention import optimized_attention

        self.calls += 1
        return 0.5 * optimized_attention(q, k, v, extra["n_heads"])


@pytest.mark.parametrize(("key", "layers"), [(("input", 7), 3), (("input", 7, 1), 1)])
def test_a_neighbours_patch_stays(
    tiny: Tiny, sdxl: Any, adapter: Made, person: Any, key: tuple[Any, ...], layers: int
) -> None:
    """Of one transformer, or of the whole block, which our slots would otherwise hide."""
    foreign, patched = Foreign(), sdxl.clone()
    patched.set_model_attn2_replace(foreign, *key)
    faceid = adapter("PORTRAIT")
    both = apply(tiny, faceid, patched, person, expression=None)
    drawn = sampled(tiny, both, steps=1)
    assert foreign.calls == layers
    alone = apply(tiny, faceid, sdxl, person, expression=None)
    assert difference(drawn, sampled(tiny, alone, steps=1)) > 1e-6


def test_two_people_in_turn(tiny: Tiny, sdxl: Any, adapter: Made, person: Any) -> None:
    """The second one uses the first one's slots; the first MODEL stays as it is."""
    faceid = adapter("PORTRAIT")
    left, right = torch.zeros(1, 128, 128), torch.zeros(1, 128, 128)
    left[:, :, :64], right[:, :, 64:] = 1, 1
    other = tiny.people(encoder=ENCODER, seed=5)
    first = apply(tiny, faceid, sdxl, person, expression=None, mask=left)
    before = sampled(tiny, first, steps=1)
    second = apply(tiny, faceid, first, other, expression=None, mask=right)
    assert difference(sampled(tiny, second, steps=1), before) > SEEN
    assert torch.equal(sampled(tiny, first, steps=1), before)


def test_what_is_for_sd15_is_refused(tiny: Tiny, sdxl: Any, adapter: Made, person: Any) -> None:
    faceid = adapter("FACEID")
    with pytest.raises(ValueError, match="the adapter does not fit this model: at input_blocks"):
        apply(tiny, random_published(tiny), sdxl, person, expression=None)
    fineface = random_published(tiny, "FINEFACE")
    with pytest.raises(ValueError, match="the adapter does not fit this model"):
        apply(tiny, faceid, sdxl, person, expression_adapter=fineface)
    with pytest.raises(ValueError, match=r"at input_blocks\.4\.transformer_blocks\.0 it is"):
        apply(tiny, faceid, tiny.model, person, expression=None)
