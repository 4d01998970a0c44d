"""Annotations in the host: capture changes nothing, reads the prompt alone, leaves no hook."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from random_head import TINY_WIDTHS, random_head
from torch import Tensor


@pytest.fixture(scope="module")
def head(tiny: Tiny) -> Any:
    """DENSEFACE_ANNOTATION_HEAD of random weights, for the tiny UNet."""
    return random_head(tiny)


def _guider(tiny: Tiny, cfg: float = 3.0, model: Any = None, positive: Any = None) -> Any:
    import comfy.samplers

    guider = comfy.samplers.CFGGuider(model or tiny.model)
    positive = positive or tiny.prompt("a person with red hair")
    with torch.inference_mode():
        guider.set_conds(positive, tiny.prompt(""))
    guider.set_cfg(cfg)
    return guider


def _inputs(
    tiny: Tiny, guider: Any, batch: int = 1, sampler: str = "euler", steps: int = 4
) -> dict[str, Any]:
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

    sampling = tiny.model.get_model_object("model_sampling")
    return {
        "noise": Noise_RandomNoise(3),
        "guider": guider,
        "sampler": comfy.samplers.sampler_object(sampler),
        "sigmas": comfy.samplers.calculate_sigmas(sampling, "normal", steps),
        "latent_image": {"samples": torch.zeros(batch, 4, 16, 16)},
    }


def _annotated(tiny: Tiny, head: Any, inputs: dict[str, Any], **changes: Any) -> Any:
    options = {"start_percent": 0.6, "end_percent": 1.0, "take": "last step", **changes}
    return tiny.run("SampleAnnotated", **inputs, head=head, **options)


def _plain(inputs: dict[str, Any]) -> Tensor:
    from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced

    with torch.inference_mode():
        return SamplerCustomAdvanced.execute(**inputs).result[0]["samples"]


def _hooks(tiny: Tiny) -> int:
    net = tiny.model.model.diffusion_model
    return sum(len(module._forward_hooks) for module in net.modules())


@pytest.mark.parametrize(("cfg", "sampler"), [(3.0, "euler"), (1.0, "euler"), (3.0, "heun")])
def test_result_is_identical_with_and_without_capture(
    tiny: Tiny, head: Any, cfg: float, sampler: str
) -> None:
    inputs = _inputs(tiny, _guider(tiny, cfg), batch=2, sampler=sampler)
    output, _, seen = _annotated(tiny, head, inputs)
    assert torch.equal(output["samples"], _plain(inputs))
    assert seen.seen.depth.shape == (2, 64, 64)
    assert seen.seen.part_logits.shape == (2, 10, 64, 64)
    assert seen.seen.landmarks.shape == (2, 68, 2)
    assert seen.image_size == (128, 128)
    assert _hooks(tiny) == 0
    assert not inputs["guider"].model_patcher.wrappers
    assert not inputs["guider"].model_patcher.additional_models


def test_only_the_prompt_is_read(tiny: Tiny, head: Any) -> None:
    """Guidance and negative prompt do not matter at the first step."""
    first = {"start_percent": 0.0, "end_percent": 0.01}
    alone = _annotated(tiny, head, _inputs(tiny, _guider(tiny, 1.0)), **first)[2].seen
    guided = _annotated(tiny, head, _inputs(tiny, _guider(tiny, 5.0)), **first)[2].seen
    assert difference(guided.depth, alone.depth) < 1e-5
    other = _guider(tiny, 1.0, positive=tiny.prompt("a smiling person on a blue background"))
    words = _annotated(tiny, head, _inputs(tiny, other), **first)[2].seen
    assert difference(words.depth, alone.depth) > 1e-3


def test_low_memory_splits_the_guidance(
    tiny: Tiny, head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import comfy.model_base

    inputs = _inputs(tiny, _guider(tiny), batch=2)
    together = _annotated(tiny, head, inputs)[2].seen
    calls: list[list[int]] = []
    whole = comfy.model_base.BaseModel.apply_model

    def listen(self: Any, x: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        calls.append(kwargs["transformer_options"]["cond_or_uncond"])
        return whole(self, x, t, *args, **kwargs)

    monkeypatch.setattr(comfy.model_base.BaseModel, "apply_model", listen)
    monkeypatch.setattr(comfy.model_base.BaseModel, "memory_required", lambda *a, **k: float("inf"))
    monkeypatch.setattr("comfy.model_management.load_models_gpu", lambda *a, **k: None)
    apart = _annotated(tiny, head, inputs)[2].seen
    assert [0] in calls and [1] in calls
    assert difference(apart.depth, together.depth) < 1e-5


def test_range_and_mean(tiny: Tiny, head: Any) -> None:
    inputs = _inputs(tiny, _guider(tiny))
    whole = {"start_percent": 0.0, "end_percent": 1.0}
    last = _annotated(tiny, head, inputs, **whole)[2].seen
    mean = _annotated(tiny, head, inputs, **whole, take="mean of all steps")[2].seen
    assert difference(mean.landmarks, last.landmarks) > 1e-6
    late = _annotated(tiny, head, inputs, start_percent=0.5, end_percent=1.0)[2].seen
    assert torch.equal(late.depth, last.depth)
    with pytest.raises(ValueError, match="no step lies between"):
        _annotated(tiny, head, inputs, start_percent=0.99, end_percent=0.99)


def test_interruption_leaves_no_hook(tiny: Tiny, head: Any) -> None:
    import comfy.model_management as mm

    inputs = _inputs(tiny, _guider(tiny))
    before = _plain(inputs)
    block = tiny.model.model.diffusion_model.output_blocks[-1][-1]

    def stop(*_: Any) -> None:
        raise mm.InterruptProcessingException

    handle = block.register_forward_hook(stop)
    try:
        with pytest.raises(mm.InterruptProcessingException):
            _annotated(tiny, head, inputs, start_percent=0.0)
    finally:
        handle.remove()
    assert _hooks(tiny) == 0
    assert torch.equal(_plain(inputs), before)


def test_models_that_do_not_fit(tiny: Tiny, head: Any) -> None:
    other = random_head(tiny, (1280, 1280, 640, 320))
    with pytest.raises(ValueError, match=r"1280, 1280, 640, 320 .* 128, 64") as message:
        _annotated(tiny, other, _inputs(tiny, _guider(tiny)))
    assert "Use the head that was trained" in str(message.value)
    transformer = SimpleNamespace(model=SimpleNamespace(diffusion_model=torch.nn.Linear(1, 1)))
    modules = tiny.module("nodes.host.dense_face.annotation").stage_modules
    with pytest.raises(ValueError, match="without the decoder blocks of a UNet"):
        modules(transformer, "a test")


def test_annotate_image(tiny: Tiny, head: Any) -> None:
    """The node gives what the command line gives: same weights, same noise."""
    from comfyui_dense_face.dense_face.annotation.head import AnnotationHead, HeadConfig
    from comfyui_dense_face.pipelines.annotation import annotate_images
    from comfyui_dense_face.pipelines.base import LATENT_SCALE, load_base

    image = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(1))
    prompt = tiny.prompt("a person")
    args = (tiny.model, tiny.vae, prompt, head, image)
    seen = tiny.run("AnnotateImage", *args, 300, 7).seen

    base = load_base(tiny.folder / "tiny_base.safetensors")
    own = AnnotationHead(HeadConfig(TINY_WIDTHS, 32, 4, "ibug")).eval()
    own.load_state_dict(head.patcher.model.state_dict())

    def encode(images: Tensor) -> Tensor:
        return LATENT_SCALE * tiny.vae.encode(images.movedim(1, -1))

    with torch.inference_mode():
        ours = annotate_images(
            base, own, encode, image.movedim(-1, 1), [7], timestep=300, texts=["a person"]
        )
    assert difference(ours.depth, seen.depth) < 1e-4
    assert difference(ours.part_logits, seen.part_logits) < 1e-4
    assert difference(ours.landmarks, seen.landmarks) < 1e-4

    with pytest.raises(ValueError, match="timestep is 1000"):
        tiny.run("AnnotateImage", *args, 1000, 7)
    with pytest.raises(ValueError, match="multiples of 8"):
        tiny.run("AnnotateImage", *args[:4], image[:, :100], 300, 7)


def test_views(tiny: Tiny, head: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that a workflow shows or saves has the image's size and the host's shapes."""
    import folder_paths

    args = (tiny.model, tiny.vae, tiny.prompt(""), head, torch.rand(2, 128, 96, 3))
    annotations = tiny.run("AnnotateImage", *args, 40, 0)
    assert annotations.image_size == (96, 128)
    preview, depth, raw, parts, face, landmarks = tiny.run("AnnotationImages", annotations)
    assert preview.shape == (2, 128, 3 * 96, 3)
    assert depth.shape == raw.shape == parts.shape == (2, 128, 96, 3)
    assert face.shape == (2, 128, 96)
    assert all(float(x.min()) >= 0 and float(x.max()) <= 1 for x in (preview, depth, raw, face))
    assert landmarks["image_size"] == (128, 96)
    assert landmarks["frames"][1][0]["landmarks_xy"].shape == (68, 2)
    with pytest.raises(ValueError, match="those of 2 images, 3 are connected"):
        tiny.run("AnnotationImages", annotations, torch.rand(3, 32, 32, 3))
    mask = tiny.run("PartMask", annotations, "nose", 0.5, 0.0)
    assert mask.shape == (2, 128, 96) and set(mask.unique().tolist()) <= {0.0, 1.0}

    for node, rest, width in (("AnnotationImages", (), 3), ("PartMask", ("face", 0.5, 0.0), 1)):
        shown = tiny.images_shown(node, annotations, *rest)
        assert len(shown) == 2  # with the names of the parts at the right
        assert shown[0].shape[0] == 320 and shown[0].shape[1] > width * 240 + 100

    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    cls = next(n for n in tiny.module("nodes").NODES if n.__name__ == "SaveAnnotations")
    for _ in range(2):
        cls.execute(annotations, "seen/face")
    assert len(list((tmp_path / "seen").iterdir())) == 2 * 2 * 3


def test_a_model_or_vae_that_gives_nan_is_one_sentence(tiny: Tiny, head: Any) -> None:
    broken = tiny.model.clone()
    broken.set_model_unet_function_wrapper(
        lambda apply, args: apply(args["input"], args["timestep"], **args["c"]) * float("nan")
    )
    with pytest.raises(ValueError, match=r"ended in values that are not numbers \(Sample with"):
        _annotated(tiny, head, _inputs(tiny, _guider(tiny, model=broken)))
    vae = SimpleNamespace(encode=lambda pixels: torch.full((1, 4, 16, 16), float("nan")))
    args = (
        tiny.model,
        vae,
        tiny.prompt(""),
        SimpleNamespace(patcher=None),
        torch.rand(1, 64, 64, 3),
    )
    with pytest.raises(ValueError, match=r"the VAE encoded .* not numbers \(Annotate Image\)"):
        tiny.run("AnnotateImage", *args, 10, 7)
