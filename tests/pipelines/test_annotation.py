"""Feature capture on diffusers: nothing changes, no hook stays, other features give other maps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from comfyui_dense_face.dense_face.annotation.annotations import mirrored
from comfyui_dense_face.dense_face.annotation.head import AnnotationHead, HeadConfig
from comfyui_dense_face.dense_face.feature_hooks import capture_features
from comfyui_dense_face.errors import IncompatibleError, InputError
from comfyui_dense_face.evaluation.annotations import (
    another_image,
    depth_error,
    face_iou,
    landmark_error,
    part_miou,
)
from comfyui_dense_face.pipelines.annotation import (
    SamplingCapture,
    annotate_images,
    annotate_latents,
    fitting_config,
    joined,
    stage_modules,
    stage_widths,
)
from comfyui_dense_face.pipelines.base import Base, load_base, new_unet
from comfyui_dense_face.pipelines.guided import text_model
from comfyui_dense_face.pipelines.layout import UNetLayout
from comfyui_dense_face.pipelines.sampling import clean_schedule, sample, seeded_noise
from tiny_random import write_base
from torch import Tensor
from torch.nn import functional as F


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    path: Path = tmp_path_factory.mktemp("base") / "base.safetensors"
    return load_base(write_base(path))


@pytest.fixture(scope="module")
def head(base: Base) -> AnnotationHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return AnnotationHead(fitting_config(base.unet, 32, 4, "ibug")).eval().requires_grad_(False)


def _hooks(base: Base) -> int:
    return sum(len(module._forward_hooks) for module in base.unet.modules())


def test_widths_are_those_of_the_features(base: Base) -> None:
    """Also where levels have several blocks, as Stable Diffusion's own."""
    deep = UNetLayout(
        model_channels=32, channel_mult=(1, 2, 2), num_res_blocks=2,
        attention=(True, True, False), heads=4, context_dim=16, image_size=16,
    )  # fmt: skip
    for unet, context in ((base.unet, 128), (new_unet(deep), 16)):
        x = torch.zeros(1, 4, 16, 16)
        with torch.no_grad(), capture_features(stage_modules(unet)) as features:
            unet(x, torch.tensor([3]), torch.zeros(1, 2, context))
        assert tuple(f.shape[1] for f in features) == stage_widths(unet)
        assert features[-1].shape[-2:] == x.shape[-2:]


def test_hooks_go_after_an_error(base: Base) -> None:
    with pytest.raises(RuntimeError), capture_features(stage_modules(base.unet)):
        raise RuntimeError
    assert _hooks(base) == 0


def test_sampling_is_the_same_with_capture(base: Base, head: AnnotationHead) -> None:
    schedule, noise = clean_schedule(4), seeded_noise([1, 2], (4, 16, 16))

    def drawn(capture: SamplingCapture | None, guidance: float = 3.0) -> torch.Tensor:
        model = text_model(base, ["a person", "a smiling person"], guidance)
        model = model if capture is None else capture.around(model)
        return sample(model, torch.zeros_like(noise), noise, schedule)

    capture = SamplingCapture(base.unet, head, lambda t: t < 600)
    assert torch.equal(drawn(capture), drawn(None))
    assert len(capture.read) == 3 and len(capture.result()) == 2
    assert not torch.equal(capture.result().depth, capture.result(mean=True).depth)
    assert _hooks(base) == 0
    # The half without words is not captured: at the first step, guidance changes nothing.
    first = [SamplingCapture(base.unet, head, lambda t: t > 700) for _ in range(2)]
    drawn(first[0], 1.0)
    drawn(first[1], 5.0)
    assert torch.allclose(first[0].result().depth, first[1].result().depth, atol=1e-4)
    silent = SamplingCapture(base.unet, head, lambda t: False)
    drawn(silent)
    with pytest.raises(InputError, match="no step was read"):
        silent.result()


def test_single_capture(base: Base, head: AnnotationHead) -> None:
    latents = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    seen = annotate_latents(base, head, latents, [5, 6, 7])
    alone = [annotate_latents(base, head, latents[i : i + 1], [5 + i]) for i in range(3)]
    assert torch.allclose(joined(alone).depth, seen.depth, atol=1e-4)
    other = annotate_latents(base, head, latents, [5, 6, 7], change=another_image)
    assert torch.allclose(other.depth, seen.depth.roll(1, 0), atol=1e-4)
    with pytest.raises(InputError, match="outside"):
        annotate_latents(base, head, latents, [5, 6, 7], timestep=1000)
    with pytest.raises(InputError, match="2 seeds"):
        annotate_latents(base, head, latents, [5, 6])
    wrong = AnnotationHead(HeadConfig((64, 64), 32, 4))
    with pytest.raises(IncompatibleError, match="64, 64 channels, this model has 128, 64"):
        annotate_latents(base, wrong, latents, [5, 6, 7])
    with pytest.raises(IncompatibleError):
        SamplingCapture(base.unet, wrong, lambda t: True)


def test_mirror_images_get_the_same_annotations(base: Base, head: AnnotationHead) -> None:
    """Mirrored; each side of a face is named by where it is then."""

    def encode(images: Tensor) -> Tensor:
        return F.avg_pool2d(images, 8)

    images = torch.randn(2, 4, 128, 128, generator=torch.Generator().manual_seed(1))
    seen, turned = (
        annotate_images(base, head, encode, x, [5, 6]) for x in (images, images.flip(-1))
    )
    there = mirrored(turned)
    for name in ("depth", "landmarks", "confidence"):
        torch.testing.assert_close(getattr(there, name), getattr(seen, name), atol=1e-4, rtol=0)
    probabilities = there.part_logits.softmax(1), seen.part_logits.softmax(1)
    torch.testing.assert_close(*probabilities, atol=1e-4, rtol=0)
    alone = annotate_latents(base, head, encode(images), [5, 6])
    assert not torch.allclose(alone.depth, seen.depth, atol=1e-3)


def test_metrics() -> None:
    """No error against the truth itself; against a shifted one, the error of the shift."""
    parts = torch.arange(100).reshape(1, 10, 10) % 10
    assert part_miou(parts, parts) == 1
    assert part_miou(torch.zeros_like(parts), parts) == pytest.approx(0.01)
    points = torch.rand(2, 68, 2, generator=torch.Generator().manual_seed(1))
    points[:, 36], points[:, 45] = torch.tensor([0.3, 0.4]), torch.tensor([0.7, 0.4])
    assert landmark_error(points, points) == 0
    assert landmark_error(points + torch.tensor([0.04, 0.0]), points) == pytest.approx(0.1)
    depth = torch.full((1, 8, 8), 1.0)
    depth[0, 2:6, 2:6] = torch.linspace(-0.4, 0.4, 16).reshape(4, 4)
    assert depth_error(depth, depth) == 0
    assert depth_error(depth + 0.08, depth) == pytest.approx(0.1)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, :2] = True
    assert face_iou(mask, mask) == 1
    assert face_iou(mask, mask.flip(1)) == 0
