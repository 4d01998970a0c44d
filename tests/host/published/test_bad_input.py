"""Bad input for published adapters: one sentence each, before sampling, nothing changed.

Files go through Load SFSR Adapter, everything else through Apply SFSR; what concerns the MODEL as a
whole is refused when sampling begins.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.sfsr.ip_adapter.reading import read_adapter_file
from in_host import Tiny
from landmarker_file import landmarker_file
from safetensors.torch import save_file
from sfsr_in_host import apply, expressions, inpainting, random_published
from torch import Tensor

PUBLISHED = Path(__file__).resolve().parents[2] / "data" / "published_parity"
FACEID = PUBLISHED / "faceid" / "ip-adapter-faceid_sd15.bin"
FINEFACE = PUBLISHED / "fineface"
ENCODER = "insightface/w600k_r50"
Tensors = dict[str, Tensor]


def refused(tiny: Tiny, attempt: Callable[[], Any], model: Any = None) -> str:
    """The sentence that the attempt ends in; the MODEL must be as before."""
    model = model or tiny.model
    patches, options = dict(model.patches), repr(model.model_options)
    wrappers, callbacks = repr(model.wrappers), repr(model.callbacks)
    with pytest.raises(ValueError, match=r"\.$") as caught:
        attempt()
    assert type(caught.value).__module__.endswith("errors"), "not one of our sentences"
    message = str(caught.value)
    assert "\n" not in message
    assert model.patches == patches and repr(model.model_options) == options
    assert repr(model.wrappers) == wrappers and repr(model.callbacks) == callbacks
    return message


# ---- files ------------------------------------------------------------------------------------


def load(tiny: Tiny, name: str) -> Any:
    return tiny.run("LoadSFSRAdapter", f"ipadapter/{name}")


def for_text_of(width: int) -> Tensors:
    """FaceID as for another base: its matrices read a text of another width."""
    found = read_adapter_file(FACEID)
    return {
        name: tensor.new_zeros(len(tensor), width) if name.endswith("_ip.weight") else tensor
        for name, tensor in found.items()
    }


def test_files_of_other_bases(tiny: Tiny, ip_adapters: Path) -> None:
    torch.save(for_text_of(1024), ip_adapters / "x.bin")
    message = refused(tiny, lambda: load(tiny, "x.bin"))
    assert "this IP-Adapter is for Stable Diffusion 2" in message
    assert "Use a file for Stable" in message and "ip-adapter-faceid_sdxl" in message
    processors = read_adapter_file(FINEFACE / "sd15_attn_processors.ckpt")
    (ip_adapters / "au_encoder.ckpt").symlink_to(FINEFACE / "sd15_au_encoder.ckpt")
    for width, base in ((2048, "SDXL"), (1024, "Stable Diffusion 2")):
        wide = {name: tensor.new_zeros(len(tensor), width) for name, tensor in processors.items()}
        torch.save(wide, ip_adapters / "attn_processors.ckpt")
        message = refused(tiny, lambda: load(tiny, "attn_processors.ckpt"))
        assert f"this FineFace is for {base}" in message


def test_the_variant_of_portrait_that_is_not_normalised(tiny: Tiny, ip_adapters: Path) -> None:
    torch.save({}, ip_adapters / "ip-adapter-faceid-portrait_sdxl_unnorm.bin")
    message = refused(tiny, lambda: load(tiny, "ip-adapter-faceid-portrait_sdxl_unnorm.bin"))
    assert "face vectors that are not normalised" in message


def test_half_of_fineface(tiny: Tiny, ip_adapters: Path) -> None:
    (ip_adapters / "sd15_au_encoder.ckpt").symlink_to(FINEFACE / "sd15_au_encoder.ckpt")
    message = refused(tiny, lambda: load(tiny, "sd15_au_encoder.ckpt"))
    assert "half of FineFace, attn_processors is missing" in message


class _Trap:
    """Makes a folder if somebody unpickles it."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize("as_zip", [False, True], ids=["legacy", "zip"])
@pytest.mark.parametrize("ending", [".bin", ".ckpt", ".pt"])
def test_pickles_that_would_run_code(
    tiny: Tiny, ip_adapters: Path, ending: str, as_zip: bool
) -> None:
    ran = ip_adapters / "ran"
    found = {**read_adapter_file(FACEID), "more": _Trap(ran)}
    torch.save(found, ip_adapters / f"x{ending}", _use_new_zipfile_serialization=as_zip)
    message = refused(tiny, lambda: load(tiny, f"x{ending}"))
    assert "not a weight file" in message and not ran.exists()


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files(tiny: Tiny, ip_adapters: Path, kept: float) -> None:
    content = FACEID.read_bytes()
    (ip_adapters / "x.bin").write_bytes(content[: int(kept * len(content))])
    assert "x.bin" in refused(tiny, lambda: load(tiny, "x.bin"))


def test_doubled_keys(tiny: Tiny, ip_adapters: Path) -> None:
    found = read_adapter_file(FACEID)
    name = "ip_adapter.1.to_k_ip.weight"
    torch.save({**found, f"module.{name}": found[name]}, ip_adapters / "x.bin")
    message = refused(tiny, lambda: load(tiny, "x.bin"))
    assert f"holds {name} twice" in message


def test_whole_checkpoints(tiny: Tiny, ip_adapters: Path) -> None:
    unet, keys = "model.diffusion_model.", "1.transformer_blocks.0.attn2.to_k.weight"
    first = {f"{unet}input_blocks.0.0.weight": torch.zeros(320, 4, 3, 3)}
    sdxl = {
        f"{unet}input_blocks.4.{keys}": torch.zeros(640, 2048),
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.bias": torch.zeros(768),
    }
    sd2, sd15 = ({f"{unet}input_blocks.1.{keys}": torch.zeros(320, n)} for n in (1024, 768))
    bases = (("SDXL", sdxl), ("Stable Diffusion 2", sd2), ("Stable Diffusion 1.5", sd15))
    for base, tensors in bases:
        save_file({**first, **tensors}, ip_adapters / "x.safetensors")
        message = refused(tiny, lambda: load(tiny, "x.safetensors"))
        assert f"this is a checkpoint of {base} and no adapter" in message
        assert "Load it as the base (Load Checkpoint, --base). Use a file for" in message


def test_missing_and_unknown_keys(tiny: Tiny, ip_adapters: Path) -> None:
    """For the full size, whose shapes the small file does not have: its text alone decides."""
    torch.save(read_adapter_file(FACEID), ip_adapters / "x.bin")
    message = refused(tiny, lambda: load(tiny, "x.bin"))
    assert "whose text has 128 numbers a token instead of 768" in message
    torch.save({"a.weight": torch.zeros(1)}, ip_adapters / "x.bin")
    assert "no adapter that is known here" in refused(tiny, lambda: load(tiny, "x.bin"))
    assert "is missing" in refused(tiny, lambda: load(tiny, "gone.bin"))


# ---- what is connected ------------------------------------------------------------------------


@pytest.fixture
def person(tiny: Tiny) -> Any:
    return tiny.people(encoder=ENCODER)


@pytest.fixture
def no_step(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network must not be run."""

    def forward(*_: Any, **__: Any) -> None:
        pytest.fail("the network was run")

    monkeypatch.setattr(type(tiny.model.model.diffusion_model), "forward", forward)


@pytest.mark.parametrize(
    "encoder", ["insightface/glintr100", "insightface/antelopev2", "ir-se50", "arc2face/arcface"]
)
def test_another_recogniser(tiny: Tiny, encoder: str) -> None:
    who = tiny.people(encoder=encoder)
    adapter = random_published(tiny)
    message = refused(tiny, lambda: apply(tiny, adapter, people=who, expression=None))
    assert f"measured by {encoder}" in message and "insightface/w600k_r50" in message
    assert "Measure the reference images with w600k_r50.onnx" in message


@pytest.mark.parametrize("kind", ["PLUS", "PLUS_V2"])
@pytest.mark.parametrize(
    ("states", "says"),
    [
        (None, "Connect CLIP vision"),
        ((257, 1024), "1024 numbers, the adapter reads 160"),  # ViT-L
        ((257, 1664), "1664 numbers, the adapter reads 160"),  # ViT-bigG
    ],
    ids=["none", "ViT-L", "ViT-bigG"],
)
def test_plus_needs_its_clip_vision(
    tiny: Tiny, person: Any, kind: str, states: tuple[int, int] | None, says: str
) -> None:
    if states is not None:
        seen = torch.ones(1, *states)
        people = tiny.module("nodes.sockets").People
        person = people(person.identities, None, (seen,), seen)
    adapter = random_published(tiny, kind)
    message = refused(tiny, lambda: apply(tiny, adapter, people=person, expression=None))
    assert says in message


def other_base(name: str, **layout: Any) -> Any:
    """MODEL of another base at full size, by the host's own class; without values."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    shared = {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": 320,
        "num_res_blocks": [2] * len(layout["channel_mult"]),
        "num_head_channels": 64,
        "use_linear_in_transformer": True,
        "use_spatial_transformer": True,
        "use_temporal_attention": False,
        "use_temporal_resblock": False,
        "legacy": False,
        "dtype": torch.float16,
    }
    config = getattr(comfy.supported_models, name)({**shared, **layout})
    meta = torch.device("meta")
    with torch.inference_mode():
        net = comfy.model_base.BaseModel(config, device=meta)
    return comfy.model_patcher.ModelPatcher(net, load_device=meta, offload_device=meta)


def sdxl(deep: int = 10) -> Any:
    return other_base(
        "SDXL",
        channel_mult=[1, 2, 4],
        transformer_depth=[0, 0, 2, 2, deep, deep],
        transformer_depth_middle=deep,
        transformer_depth_output=[0, 0, 0, 2, 2, 2, deep, deep, deep],
        context_dim=2048,
        num_classes="sequential",
        adm_in_channels=2816,
    )


def sd15() -> Any:
    return _four_levels("SD15", 768)


def sd2() -> Any:
    return _four_levels("SD20", 1024)


def _four_levels(name: str, text: int) -> Any:
    return other_base(
        name,
        channel_mult=[1, 2, 4, 4],
        transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0],
        transformer_depth_middle=1,
        transformer_depth_output=[1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        context_dim=text,
        adm_in_channels=None,
    )


@pytest.mark.parametrize(
    ("base", "says"),
    [
        (sdxl, "at input_blocks.1 it is 320 wide, the model has nothing"),
        (sd2, "the model's text is 1024 wide, the adapter's 768"),
    ],
    ids=["SDXL", "SD2"],
)
@pytest.mark.parametrize("kind", ["FACEID", "FINEFACE"])
def test_models_of_another_base(
    tiny: Tiny, person: Any, kind: str, base: Callable[[], Any], says: str
) -> None:
    target = tiny.module("sfsr.ip_adapter.places").SD15
    adapter, model = random_published(tiny, kind, target=target), base()
    inputs = {"people": person, "expression": None} if kind == "FACEID" else {"identity": None}
    message = refused(tiny, lambda: apply(tiny, adapter, model, **inputs), model)
    assert f"the adapter does not fit this model: {says}" in message
    assert "Connect a model of the kind the adapter was made for (Stable Diffusion 1.5" in message
    assert ("for SDXL there are ip-adapter-faceid_sdxl" in message) == (base is sdxl)


def test_sdxl_adapter_on_a_model_of_sd15(tiny: Tiny, person: Any) -> None:
    """The layers of its first blocks are as wide there: the text tells."""
    places = tiny.module("sfsr.ip_adapter.places")
    first = "input_blocks.4.transformer_blocks.0"
    target = places.Target({first: places.SDXL.layers[first]}, places.SDXL.width)
    adapter, model = random_published(tiny, target=target), sd15()
    attempt = lambda: apply(tiny, adapter, model, people=person, expression=None)  # noqa: E731
    message = refused(tiny, attempt, model)
    assert "the model's text is 768 wide, the adapter's 2048" in message
    assert "made for (SDXL, text width 2048)" in message


def test_sdxl_has_the_layers_of_its_adapters(tiny: Tiny) -> None:
    target = tiny.module("sfsr.ip_adapter.places").SDXL
    check = tiny.module("nodes.host.compatibility").require_layers
    check(sdxl(), target.layers, target.width, "here")
    with pytest.raises(ValueError, match=r"at input_blocks\.7\.transformer_blocks\.4 .* nothing"):
        check(sdxl(4), target.layers, target.width, "here")  # a distilled relative


def test_dense_face_on_sdxl_names_what_works(tiny: Tiny) -> None:
    model = sdxl()
    message = refused(tiny, lambda: tiny.apply(model), model)
    assert "the adapter does not fit this model" in message
    assert "for SDXL there are ip-adapter-faceid_sdxl" in message


@pytest.mark.parametrize("with_clip", [False, True], ids=["FaceID", "Plus"])
def test_photo_without_a_face(tiny: Tiny, with_clip: bool) -> None:
    """The landmarker and a recogniser on a photo of a cup of coffee."""
    photo = torch.from_numpy(pytest.importorskip("skimage.data").coffee().copy())[None] / 255
    landmarker = tiny.module("faces.mediapipe.landmarker").Landmarker(landmarker_file())
    analyzer = tiny.module("nodes.sockets").LoadedAnalyzer(None, ENCODER, landmarker, Unasked())
    seen = {"clip_vision": Unasked()} if with_clip else {}
    attempt = lambda: tiny.run("EncodeIdentity", analyzer, photo, "one person", **seen)  # noqa: E731
    message = refused(tiny, attempt)
    assert message.startswith("no face was found (Encode Identity). Use ")


class Unasked:
    """Stands for a model that must not be run."""

    encoder = ENCODER

    def __getattr__(self, name: str) -> Any:
        pytest.fail(f"{name} is read")


def test_expression_adapter_without_expression(tiny: Tiny, person: Any) -> None:
    faceid, fineface = random_published(tiny), random_published(tiny, "FINEFACE")
    says = "expression adapter, and no expression is connected"
    for adapter, more in ((fineface, {}), (faceid, {"expression_adapter": fineface})):
        attempt = lambda a=adapter, m=more: apply(  # noqa: E731
            tiny, a, people=person, expression=None, **m
        )
        assert says in refused(tiny, attempt)


LORA_TWICE = "on the model already and would count twice"


def separate_file(faceid: Any) -> Tensors:
    """The LoRA of a FaceID file as the file beside it holds it."""
    separate: Tensors = {}
    for place, (down, up) in faceid.adapter.lora.pairs.items():
        name = f"lora_unet_{place.replace('.', '_')}"
        separate |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
    return separate


def with_separate_file(model: Any, faceid: Any) -> Any:
    """A MODEL after the host's own LoRA loader."""
    import comfy.sd

    with torch.inference_mode():
        loaded, _ = comfy.sd.load_lora_for_models(model, None, separate_file(faceid), 1.0, 0.0)
    assert len(loaded.patches) == len(faceid.adapter.lora.pairs)
    return loaded


def test_a_lora_twice(tiny: Tiny, person: Any) -> None:
    faceid = random_published(tiny, rank=2)
    once = apply(tiny, faceid, people=person, expression=None)
    twice = lambda model: apply(tiny, faceid, model, people=person, expression=None)  # noqa: E731
    assert LORA_TWICE in refused(tiny, lambda: twice(once), once)
    other = with_separate_file(tiny.model, faceid)
    message = refused(tiny, lambda: twice(other), other)
    assert LORA_TWICE in message and "Set LoRA strength to 0" in message
    kept = apply(tiny, faceid, other, people=person, expression=None, lora_strength=0.0)
    assert {k: len(v) for k, v in kept.patches.items()} == {k: 1 for k in other.patches}


def test_a_lora_loaded_behind_apply_sfsr(tiny: Tiny, person: Any, no_step: None) -> None:
    faceid = random_published(tiny, rank=2)
    once = apply(tiny, faceid, people=person, expression=None)
    twice = with_separate_file(once, faceid)
    for model in (twice, twice.clone()):
        message = refused(tiny, lambda m=model: tiny.sample(m, steps=1), model)
        assert LORA_TWICE in message and "Set LoRA strength to 0" in message


def test_a_lora_as_a_hook_behind_apply_sfsr(tiny: Tiny, person: Any, no_step: None) -> None:
    import comfy.hooks

    faceid = random_published(tiny, rank=2)
    once = apply(tiny, faceid, people=person, expression=None)
    with torch.inference_mode():
        hook = comfy.hooks.create_hook_lora(separate_file(faceid), 1.0, 0.0)
    positive = comfy.hooks.set_hooks_for_conditioning(tiny.prompt("a person"), hook)
    assert LORA_TWICE in refused(tiny, lambda: tiny.sample(once, positive, steps=1), once)
    assert not once.hook_patches


def test_other_loras_behind_apply_sfsr_are_welcome(tiny: Tiny, person: Any) -> None:
    faceid, other = random_published(tiny, rank=2), random_published(tiny, rank=2, seed=7)
    once = apply(tiny, faceid, people=person, expression=None)
    both = with_separate_file(once, other)
    assert not torch.equal(tiny.sample(both, steps=1), tiny.sample(once, steps=1))
    without = apply(tiny, faceid, people=person, expression=None, lora_strength=0.0)
    assert tiny.sample(with_separate_file(without, faceid), steps=1).isfinite().all()


def test_units_that_fineface_lacks_are_named(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    """A warning, no refusal: in the log and in the report."""
    face = tiny.run("ExpressionFromWord", "rage", 1.0, 0, 0.0)
    inputs: dict[str, Any] = {
        "balance": 0.0,
        "identity_weight": 1.0,
        "expression_weight": 1.0,
        "identity_start_percent": 0.0,
        "identity_end_percent": 1.0,
        "expression_start_percent": 0.0,
        "expression_end_percent": 1.0,
        "keep_identity_out": False,
    }
    adapter = random_published(tiny, "FINEFACE")
    with caplog.at_level(logging.WARNING):
        drawn, report = tiny.run("ApplySFSR", tiny.model, adapter, expression=face, **inputs)
    warnings = [record for record in caplog.records if "are lost" in record.getMessage()]
    assert len(warnings) == 1 and "AU7, AU10, AU23 and AU27 are lost" in warnings[0].getMessage()
    assert "AU7, AU10, AU23 and AU27 are lost" in report and drawn is not tiny.model


def test_nine_channels_without_a_scene(tiny: Tiny, person: Any, no_step: None) -> None:
    nine = inpainting(tiny)
    fineface = random_published(tiny, "FINEFACE")
    model = apply(tiny, random_published(tiny), nine, people=person, expression_adapter=fineface)
    message = refused(tiny, lambda: tiny.sample(model, steps=1), nine)
    assert "an inpainting model, and nothing says what is to be painted" in message
    assert "Connect SFSR Background" in message


def test_the_model_draws_as_before_after_every_refusal(tiny: Tiny, person: Any) -> None:
    before = tiny.sample(tiny.model)
    faceid, plus = random_published(tiny, rank=2), random_published(tiny, "PLUS")
    once = apply(tiny, faceid, people=person, expression=None)
    drawn = tiny.sample(once)
    smile = {"expression": expressions(tiny)}
    refused(tiny, lambda: apply(tiny, faceid, once, people=person, expression=None), once)
    refused(tiny, lambda: apply(tiny, plus, once, people=person, expression=None), once)
    refused(tiny, lambda: apply(tiny, faceid, once, people=person, **smile), once)
    refused(tiny, lambda: apply(tiny, faceid, once, people=tiny.people(), expression=None), once)
    assert torch.equal(tiny.sample(once), drawn) and torch.equal(tiny.sample(tiny.model), before)
