"""Apply Arc2Face Reference on the random tiny world: as on diffusers, and beside others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.pipelines.base import LATENT_SCALE, load_base
from comfyui_dense_face.pipelines.reference import InstalledReference, reference_bank
from comfyui_dense_face.sfsr.arc2face.reference_lora import reference_lora
from comfyui_dense_face.sfsr.ip_adapter.state_dict import flat_state_dict
from foreign_pack import StandIn, foreign_residual
from in_host import Tiny, device_caches, difference, little_memory
from random_published import published_tensors, reference_tensors, small_target
from safetensors.torch import save_file
from sfsr_in_host import apply, inpainting, random_published, scene
from torch import Tensor

FILE = "pytorch_lora_weights.safetensors"
CLOSE, SEEN = 1e-4, 1e-3
Apply = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """models/ipadapter with the adapter in the random base's sizes, which the node takes."""
    import folder_paths

    path = tmp_path_factory.mktemp("ipadapter")
    save_file(reference_tensors(), path / FILE)
    endings = tiny.module("nodes.host.folders").IP_ENDINGS
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(folder_paths.folder_names_and_paths, "ipadapter", ([str(path)], set(endings)))
        reference = tiny.module("nodes.host.sfsr.reference")
        patch.setattr(reference, "TARGET", small_target(tiny.module))
        yield path


@pytest.fixture(scope="module")
def referred(tiny: Tiny, folder: Path) -> Apply:
    """Runs the node."""

    def run(model: Any = None, strength: float = 0.8, **changes: Any) -> Any:
        inputs = {
            "model": model or tiny.model,
            "adapter_name": FILE,
            "positive": people(tiny),
            "vae": tiny.vae,
            "image": scene(),
            "lora_strength": strength,
        }
        return tiny.run("ApplyArc2FaceReference", **{**inputs, **changes})[0]

    return run


def people(tiny: Tiny, count: int = 1) -> Any:
    """CONDITIONING as Encode Arc2Face Identity makes it."""
    checks = tiny.module("nodes.host.sfsr.arc2face_checks")
    words = [tiny.prompt(each)[0] for each in ("a close-up photo of a man", "a woman outside")]
    return checks.mark_prompt([[torch.cat([w[0] for w in words[:count]]), words[0][1]]])


def in_the_prompts_half(
    out: Tensor, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]
) -> Tensor:
    """A foreign callback."""
    numbers = extra["cond_or_uncond"]
    rows = [torch.full((len(q) // len(numbers), 1, 1), float(n == 0)) for n in numbers]
    return torch.cat(rows) * foreign_residual(out, q, k, v, extra)


def halves(tiny: Tiny, model: Any, positive: Any, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """(x, eps without prompt, eps with prompt) of the first step."""
    seen: dict[str, Tensor] = {}

    def look(found: dict[str, Any]) -> Tensor:
        seen.update({k: v for k, v in found.items() if torch.is_tensor(v)})
        return found["denoised"]

    watched = model.clone()
    watched.set_model_sampler_post_cfg_function(look)
    tiny.sample(watched, positive, steps=1, batch=batch)
    x, sigma = seen["input"], seen["sigma"].reshape(-1, 1, 1, 1)
    without, with_prompt = ((x - seen[f"{half}_denoised"]) / sigma for half in ("uncond", "cond"))
    return x / (1 + sigma**2).sqrt(), without, with_prompt


@pytest.mark.parametrize(
    ("persons", "images", "strength"), [(1, 1, 0.8), (2, 1, 0.8), (2, 2, 1.3), (1, 2, 0.0)]
)
def test_same_prediction_as_on_diffusers(
    tiny: Tiny, referred: Apply, persons: int, images: int, strength: float
) -> None:
    who, image = people(tiny, persons), scene(count=images)
    with torch.inference_mode():
        model = referred(strength=strength, positive=who, image=image)
        x, without, with_prompt = halves(tiny, model, who, batch=2)
        empty = tiny.prompt("")[0][0]
    base = load_base(tiny.folder / "tiny_base.safetensors")
    lora = reference_lora(flat_state_dict(reference_tensors(), ""), small_target())
    before = {name: weight.clone() for name, weight in base.unet.state_dict().items()}
    text = who[0][0].expand(2, -1, -1)
    with torch.no_grad():
        latent = base.vae.encode(image.movedim(-1, 1) * 2 - 1).latent_dist.mean
        latent = (LATENT_SCALE * latent).expand(2, -1, -1, -1)
        bank = reference_bank(base.unet, latent, text)
        both, contexts = torch.cat([x, x]), torch.cat([empty.expand(2, -1, -1), text])
        bare = base.unet(both, torch.tensor(999), contexts).sample.chunk(2)
        with InstalledReference(base.unet, bank, lora, strength, unprompted=2):
            found = base.unet(both, torch.tensor(999), contexts).sample.chunk(2)
        again = base.unet(both, torch.tensor(999), contexts).sample.chunk(2)
    assert difference(without, found[0]) < CLOSE
    assert difference(with_prompt, found[1]) < CLOSE
    assert difference(found[1], bare[1]) > SEEN
    assert (difference(found[0], bare[0]) > SEEN) == (strength > 0)  # the LoRA acts in both
    assert all(torch.equal(one, other) for one, other in zip(again, bare, strict=True))
    assert all(torch.equal(weight, before[name]) for name, weight in base.unet.state_dict().items())


def test_the_bank_is_that_of_the_bare_model(tiny: Tiny, referred: Apply) -> None:
    """Neither expression, LoRA, options nor another noise schedule of the MODEL reach it."""
    expression = apply(tiny, random_published(tiny, "FINEFACE"), people=None, identity=None)
    before, after = (
        tiny.sample(model)
        for model in (
            referred(expression),
            apply(tiny, random_published(tiny, "FINEFACE"), referred(), people=None, identity=None),
        )
    )
    assert difference(before, after) < 1e-5
    assert difference(before, tiny.sample(expression)) > SEEN
    reference = tiny.module("nodes.host.sfsr.reference")
    altered = tiny.apply(referred(), mode="weights")
    altered.add_object_patch("model_sampling", None)
    target, latent = small_target(tiny.module), torch.randn(1, 4, 16, 16)
    with torch.inference_mode():
        banks = [
            reference.reference_bank(model, target, latent, people(tiny))
            for model in (tiny.model, altered)
        ]
    assert all(torch.equal(bank, banks[1][block]) for block, bank in banks[0].items())


CELLS = torch.zeros(1, 128, 128)
CELLS[:, 32:96, 32:96] = 1


@pytest.mark.parametrize(
    "options",
    [{"mode": "weights"}, {"mode": "runtime"}, {"end_percent": 0.6}, {"mask": CELLS}],
    ids=["weights", "runtime", "range", "mask"],
)
def test_dense_face_in_either_order(tiny: Tiny, referred: Apply, options: dict[str, Any]) -> None:
    """Its adapter also has the slots of self-attentions."""
    after = tiny.sample(tiny.apply(referred(), **options))
    before = tiny.sample(referred(tiny.apply(**options)))
    assert difference(after, before) < 1e-5
    assert difference(after, tiny.sample(tiny.apply(**options))) > SEEN
    assert difference(after, tiny.sample(referred())) > SEEN


def test_a_foreign_patch_in_the_slot_stays(tiny: Tiny, referred: Apply) -> None:
    """Also one that tells the halves of the guidance apart, as IP-Adapter's do."""
    foreign = tiny.model.clone()
    foreign.set_model_attn1_replace(StandIn(in_the_prompts_half), "input", 1)
    drawn = tiny.sample(referred(foreign))
    assert difference(drawn, tiny.sample(foreign)) > SEEN
    assert difference(drawn, tiny.sample(referred())) > SEEN
    added = referred()
    slot = added.model_options["transformer_options"]["patches_replace"]["attn1"]["input", 1]
    slot.add(in_the_prompts_half)
    assert difference(tiny.sample(added), drawn) < 1e-5
    assert torch.equal(tiny.sample(added.clone()), tiny.sample(added))


def test_halves_one_after_the_other(
    tiny: Tiny, referred: Apply, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = referred()
    together = tiny.sample(model, batch=2)
    little_memory(tiny, monkeypatch)
    assert difference(tiny.sample(model, batch=2), together) < 1e-5


def test_the_bank_is_read_in_all_predictions_with_the_prompt(tiny: Tiny, referred: Apply) -> None:
    import comfy.samplers

    model, conds = referred(), (people(tiny), tiny.prompt(""))
    split = tiny.run("SplitGuidance", model, *conds, 3.0, 2.0, 1.0)
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))

    def drawn(guider: Any) -> Tensor:
        sampler, levels = comfy.samplers.sampler_object("euler"), torch.tensor([2.0, 0.0])
        with torch.inference_mode():
            empty = torch.zeros_like(noise)
            return guider.sample(noise, empty, sampler, levels, disable_pbar=True, seed=1)

    usual = comfy.samplers.CFGGuider(model)
    usual.set_conds(*conds)
    usual.set_cfg(3.0)
    assert difference(drawn(split), drawn(usual)) < CLOSE


def test_nothing_stays_behind(tiny: Tiny, referred: Apply) -> None:
    bare = tiny.sample(tiny.model)
    caches = device_caches(tiny)
    model = referred()
    first = tiny.sample(model)
    assert all(len(cache) == 0 for cache in device_caches(tiny, caches))
    assert torch.equal(tiny.sample(tiny.model), bare)
    assert not tiny.model.patches and not tiny.model.model_options["transformer_options"]
    assert torch.equal(tiny.sample(model), first) and difference(first, bare) > SEEN
    assert difference(tiny.sample(referred(strength=0.3)), first) > SEEN
    assert difference(tiny.sample(referred(image=scene(5))), first) > SEEN


# ---- bad input ----------------------------------------------------------------------------------


class OtherVae:
    def encode(self, image: Tensor) -> Tensor:
        return torch.zeros(len(image), 16, 16, 16)


def test_bad_input(tiny: Tiny, referred: Apply, folder: Path) -> None:
    save_file({"x": torch.zeros(1)}, folder / "other.safetensors")
    torch.save(published_tensors("FACEID", rank=2), folder / "faceid.bin")
    two = [*people(tiny), *people(tiny)]
    for changes, says in (
        ({"adapter_name": "none yet"}, "Put pytorch_lora_weights.safetensors"),
        ({"adapter_name": "gone.safetensors"}, "gone.safetensors is missing"),
        ({"adapter_name": "other.safetensors"}, "the reference adapter lacks"),
        ({"adapter_name": "faceid.bin"}, "the reference adapter lacks"),
        ({"model": inpainting(tiny)}, "this is an inpainting model"),
        ({"positive": two}, "the prompt consists of 2 parts"),
        ({"vae": OtherVae()}, "the VAE gives latents of 16 channels"),
        ({"positive": people(tiny, 2), "image": scene(count=3)}, "3 reference images for 2 people"),
        ({"image": torch.rand(1, 1032, 1032, 3)}, "has 1032x1032 px"),
        ({"image": torch.rand(1, 128, 48, 3)}, "has 48x128 px"),
        ({"image": torch.full((1, 128, 128, 3), torch.nan)}, "values that are not numbers"),
    ):
        with pytest.raises(ValueError, match=r"\.$") as error:
            referred(**changes)
        assert says in str(error.value) and "\n" not in str(error.value)


def test_twice(tiny: Tiny, referred: Apply) -> None:
    with pytest.raises(ValueError, match="on the model already and would count twice") as error:
        referred(referred())
    assert "Apply Arc2Face Reference" in str(error.value)
    both = referred(referred(), strength=0.0, image=scene(5))  # a second image without the LoRA
    assert difference(tiny.sample(both), tiny.sample(referred())) > SEEN


def test_references_for_another_number_of_images(tiny: Tiny, referred: Apply) -> None:
    with pytest.raises(ValueError, match="there are 2 references for a batch of 3 images"):
        tiny.sample(referred(image=scene(count=2)), batch=3)


def test_the_adapters_of_ip_adapter_refuse_it(tiny: Tiny, folder: Path, referred: Apply) -> None:
    with pytest.raises(ValueError, match="Apply Arc2Face Reference"):
        tiny.run("LoadSFSRAdapter", f"ipadapter/{FILE}")


# ---- Arc2Face's parts with others ---------------------------------------------------------------


def loaded_by(model: Any, loader: str, path: str) -> Any:
    """A MODEL as a loader of the host leaves it."""
    import comfy.sd

    made = model.clone()
    made.cached_patcher_init = (getattr(comfy.sd, loader), (path, {}))
    return made


ARC2FACE_UNET = "load_diffusion_model", "/m/arc2face/diffusion_pytorch_model.safetensors"
OTHER_UNET = "load_diffusion_model", "/m/unet.safetensors"
CHECKPOINT = "load_checkpoint_guess_config", "/m/photo.safetensors"
OTHER_PROMPT = "does not come from Encode Arc2Face Identity"
OTHER_MODEL = "was trained on Arc2Face's UNet, and the model is that of the checkpoint photo"


@pytest.mark.parametrize(
    ("made", "kind", "logged"),
    [
        (ARC2FACE_UNET, "FACEID", OTHER_PROMPT),
        (ARC2FACE_UNET, "ARC2FACE_EXPRESSION", OTHER_PROMPT),
        (OTHER_UNET, "ARC2FACE_EXPRESSION", OTHER_PROMPT),
        (CHECKPOINT, "ARC2FACE_EXPRESSION", OTHER_MODEL),
        (OTHER_UNET, "FACEID", ""),
        (CHECKPOINT, "FACEID", ""),
    ],
)
def test_apply_sfsr_warns_of_other_prompts_and_models(
    tiny: Tiny,
    caplog: pytest.LogCaptureFixture,
    made: tuple[str, str],
    kind: str,
    logged: str,
) -> None:
    model, adapter = loaded_by(tiny.model, *made), random_published(tiny, kind)
    more: dict[str, Any] = {"expression": None}
    who = tiny.people(encoder="insightface/w600k_r50")
    if kind == "ARC2FACE_EXPRESSION":
        more = {"expression": tiny.run("ExpressionFromFLAME", numbers="1 " * 50), "identity": None}
    applied = apply(tiny, adapter, model, who, **more)
    tiny.sample(applied, people(tiny), steps=1)
    of_model = logged if logged == OTHER_MODEL else ""
    assert of_model in caplog.text and bool(caplog.records) == bool(of_model)
    caplog.clear()
    tiny.sample(applied, steps=1)
    of_prompt = logged if logged == OTHER_PROMPT else ""
    assert of_prompt in caplog.text and len(caplog.records) == bool(of_prompt)


def test_the_reference_warns_of_other_prompts_and_models(
    tiny: Tiny, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def report(made: tuple[str, str], positive: Any) -> str:
        model = loaded_by(tiny.model, *made)
        given = model, FILE, positive, tiny.vae, scene(), 0.8
        return tiny.run("ApplyArc2FaceReference", *given)[1]

    usual = report(ARC2FACE_UNET, people(tiny))
    assert "warning" not in usual and "licence: MIT" in usual and "1 of 128x128 px" in usual
    assert not caplog.records
    assert OTHER_PROMPT in report(ARC2FACE_UNET, tiny.prompt("a man"))
    assert OTHER_MODEL in report(CHECKPOINT, people(tiny))
    assert OTHER_PROMPT in caplog.text and OTHER_MODEL in caplog.text
