"""The annotation head: shapes from the model's own features, size, refusals, file, decoding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.dense_face.annotation.annotations import (
    decode,
    heat_points,
    mean_annotations,
)
from comfyui_dense_face.dense_face.annotation.head import AnnotationHead, AnnotationMaps, HeadConfig
from comfyui_dense_face.dense_face.annotation.head_file import load_head, save_head
from comfyui_dense_face.dense_face.pose_branch import ResBlock
from comfyui_dense_face.errors import IncompatibleError, InputError, ModelFileError
from comfyui_dense_face.storage import write_weights
from torch import Tensor
from torch.nn import functional as F

TINY = HeadConfig((128, 64), 32, 4, "ibug")


def _head(config: HeadConfig = TINY) -> AnnotationHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return AnnotationHead(config).eval().requires_grad_(False)


def _features(batch: int = 2, side: int = 16, widths: tuple[int, ...] = (128, 64)) -> list[Tensor]:
    chance = torch.Generator().manual_seed(2)
    return [torch.randn(batch, width, side, side, generator=chance) for width in widths]


@pytest.mark.parametrize("side", [8, 16, 24])
def test_maps_have_the_size_of_the_latent(side: int) -> None:
    """Also for latents that training never met."""
    maps = _head()(_features(side=side), torch.tensor([40, 900]))
    cells = 4 * side
    assert maps.depth.shape == (2, cells, cells)
    assert maps.part_logits.shape == (2, 10, cells, cells)
    assert maps.heat_logits.shape == (2, 68, 2 * side, 2 * side)


@pytest.mark.parametrize(("scale", "fine"), [(2, (32,)), (4, (64, 32))])
def test_finer_grids_refine_depth_and_parts_alone(scale: int, fine: tuple[int, ...]) -> None:
    head = _head(HeadConfig((128, 64), 32, scale, "ibug", fine))
    seen: list[torch.Size] = []
    for block in (layer for layer in head.unfold if isinstance(layer, ResBlock)):
        block.register_forward_hook(lambda _, __, out: seen.append(out.shape))
    light, heavy = (head(_features(), torch.tensor([t, 900])) for t in (10, 800))
    sides = [16 * 2 ** (number + 1) for number in range(len(fine))]
    assert seen[: len(fine)] == [
        (2, width, side, side) for width, side in zip(fine, sides, strict=True)
    ]
    assert light.part_logits.shape == (2, 10, 16 * scale, 16 * scale)
    assert light.heat_logits.shape == (2, 68, 32, 32)
    assert not torch.allclose(light.depth[0], heavy.depth[0])
    assert torch.allclose(light.depth[1], heavy.depth[1], atol=1e-5)


def test_full_size_is_small() -> None:
    """At most 6 M parameters for Stable Diffusion 1.5 (docs/reference/dense_face.md B1)."""
    with torch.device("meta"):
        head = AnnotationHead(HeadConfig())
        sides = (8, 16, 32, 32)
        features = [
            torch.zeros(1, width, side, side)
            for width, side in zip(head.config.stage_widths, sides, strict=True)
        ]
    assert sum(p.numel() for p in head.parameters()) <= 6_000_000
    head = head.to_empty(device="cpu")
    maps = head([torch.zeros(f.shape) for f in features], torch.tensor([10]))
    assert maps.heat_logits.shape == (1, 478, 64, 64)
    assert maps.depth.shape == (1, 64, 64)


def test_timestep_matters() -> None:
    head = _head()
    light, heavy = (head(_features(), torch.tensor([t, t])).depth for t in (10, 800))
    assert not torch.allclose(light, heavy)


def test_features_of_all_stages_are_added_at_the_latents_size() -> None:
    head, seen = _head(), []
    head.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    coarse, fine = _features(side=8)[0], _features(side=16)[1]
    head([coarse, fine], torch.tensor([40, 900]))
    one, other = (stage(f) for stage, f in zip(head.stages, (coarse, fine), strict=True))
    expected = F.interpolate(one, (16, 16), mode="bilinear") + other
    assert torch.allclose(seen[0], expected, atol=1e-5)


def test_images_do_not_see_each_other() -> None:
    head, features = _head(), _features(3)
    whole = head(features, torch.tensor([10, 200, 900]))
    alone = head([f[1:2] for f in features], torch.tensor([200]))
    assert torch.allclose(whole.part_logits[1:2], alone.part_logits, atol=1e-5)


def test_refusals() -> None:
    head = _head()
    with pytest.raises(IncompatibleError, match=r"128, 64 channels, this model has 1280, 640"):
        head(_features(widths=(1280, 640)), torch.tensor([1, 1]))
    for t in (-1, 1000, float("nan")):
        with pytest.raises(InputError, match=r"outside 0\.\.999"):
            head(_features(), torch.tensor([5.0, float(t)]))
    for changes in (
        {"stage_widths": ()},
        {"width": 33},
        {"scale": 3},
        {"scheme": "none"},
        {"fine_widths": (33,)},
        {"fine_widths": (32, 32)},
        {"scale": 4, "fine_widths": (32,)},
    ):
        with pytest.raises(InputError):
            HeadConfig(**changes)


@pytest.mark.parametrize("fine", [(), (64, 32)])
def test_file_round_trip(tmp_path: Path, fine: tuple[int, ...]) -> None:
    config = replace(TINY, fine_widths=fine)
    head, path = _head(config), tmp_path / "head.safetensors"
    save_head(path, head, {"base_model": "x"})
    again, about = load_head(path)
    assert again.config == config and about["base_model"] == "x"
    for name, tensor in head.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor.half().float())
    with pytest.raises(ModelFileError, match="missing"):
        load_head(tmp_path / "none.safetensors")
    write_weights(path, {"a": torch.zeros(1)}, {"format": "denseface-adapter/1"})
    with pytest.raises(ModelFileError, match="Choose the file of an annotation head"):
        load_head(path)
    write_weights(path, {"a": torch.zeros(1)}, {"format": "denseface-annotation-head/3"})
    with pytest.raises(ModelFileError, match="sizes"):
        load_head(path)


def test_eight_bits_inside_make_the_file_small(tmp_path: Path) -> None:
    """And change little: first and last layers, norms and biases stay in sixteen bits."""
    head = _head()
    for name, kind in (("half", torch.float16), ("eight", torch.float8_e4m3fn)):
        save_head(tmp_path / name, head, {}, kind)
    half, eight = ((tmp_path / name).stat().st_size for name in ("half", "eight"))
    assert eight < 0.7 * half
    again, _ = load_head(tmp_path / "eight")
    assert next(again.parameters()).dtype == torch.float32
    own, stored = (h(_features(), torch.tensor([40, 900])).part_logits for h in (head, again))
    assert float((own - stored).std() / own.std()) < 0.1
    for name in ("read.0.weight", "stages.0.1.weight", "unfold.0.weight", "surface.weight"):
        assert torch.equal(again.get_parameter(name), head.get_parameter(name).half().float())


def test_points_are_finer_than_cells() -> None:
    """A Gaussian around any place decodes to that place, and the surer the narrower it is."""
    place = torch.tensor([0.3137, 0.6291])
    cells = (torch.arange(64) + 0.5) / 64
    apart = (cells[None] - place[0]).square() + (cells[:, None] - place[1]).square()
    heat = torch.stack([-apart / (2 * width**2) for width in (0.01, 0.05)])[None]
    points, confidence = heat_points(heat)
    assert torch.allclose(points, place.expand(1, 2, 2), atol=1e-3)
    assert float(confidence[0, 0]) > 0.99 > 0.6 > float(confidence[0, 1])
    assert float(heat_points(torch.zeros(1, 1, 64, 64))[1]) < 0.05


def test_the_union_of_the_face_has_no_slits() -> None:
    """A frame of glasses is one cell wide; dark lenses stay out, and so does the outside."""
    seen = torch.zeros(32, 32, dtype=torch.bool)
    seen[4:28, 4:28] = True
    whole = seen.clone()
    seen[8, 6:26] = False
    seen[14:22, 10:20] = False
    logits = torch.zeros(1, 10, 32, 32)
    logits[0, 0], logits[0, 1] = 10, 20.0 * seen  # background unless there is skin
    maps = AnnotationMaps(torch.zeros(1, 32, 32), logits, torch.zeros(1, 68, 8, 8))
    face = decode(maps, "ibug").face[0] > 0.5
    assert bool(face[8, 6:26].all()) and not bool(face[15:21, 11:19].any())
    assert not bool(face[~whole].any()) and bool(face[seen].all())


def test_decoding() -> None:
    chance = torch.Generator().manual_seed(3)

    def rand(*shape: int) -> Tensor:
        return torch.randn(shape, generator=chance)

    maps = AnnotationMaps(rand(2, 8, 8), rand(2, 10, 8, 8), rand(2, 68, 8, 8))
    seen = decode(maps, "ibug")
    assert len(seen) == 2 and seen.parts.dtype == torch.uint8
    assert bool((seen.part("background") + seen.face > 1 - 1e-6).all())
    with pytest.raises(InputError, match="no part 'tail'"):
        seen.part("tail")
    twice = mean_annotations([seen, seen])
    assert torch.allclose(twice.face, seen.face, atol=1e-6)
    assert torch.allclose(twice.landmarks, seen.landmarks)
    with pytest.raises(InputError):
        mean_annotations([])
