"""The small nodes: images in, images out, and their errors for bad input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from in_host import Tiny
from locate_host import PARITY
from photograph import astronaut
from torch import Tensor


@pytest.fixture(scope="module")
def analyzer(tiny: Tiny) -> Any:
    path = tiny.folder / "tiny_analyzer.safetensors"
    patcher, encoder = tiny.module("nodes.host.tiny.analyzer").load_analyzer(path)
    return tiny.module("nodes.sockets").LoadedAnalyzer(patcher, encoder)


@pytest.fixture(scope="module")
def portrait(tiny: Tiny) -> Tensor:
    return tiny.run("TinyPortrait", 3, 1, 0.0, 0.0, 0.0, 128)[0]


@pytest.fixture
def blind(analyzer: Any) -> Any:
    """An analyzer that finds no face in dark images, and one in the others."""
    import copy

    import comfy.model_patcher

    net = copy.deepcopy(analyzer.patcher.model)
    inner = net.forward

    def forward(images: Tensor) -> Any:
        import dataclasses

        bright = images.mean((1, 2, 3)) > 0.2
        return dataclasses.replace(inner(images), face_logit=torch.where(bright, 3.0, -3.0))

    net.forward = forward
    cpu = torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(net, load_device=cpu, offload_device=cpu)
    return type(analyzer)(patcher, analyzer.encoder)


# ---- tiny world --------------------------------------------------------------------------------


def test_portrait_is_an_image_of_the_host(portrait: Tensor) -> None:
    assert portrait.shape == (1, 128, 128, 3) and portrait.dtype == torch.float32
    assert portrait.min() >= 0 and portrait.max() <= 1
    assert portrait.std() > 0.05


def test_same_numbers_same_portrait(tiny: Tiny, portrait: Tensor) -> None:
    again, caption, poses = tiny.run("TinyPortrait", 3, 1, 0.0, 0.0, 0.0, 128)
    assert torch.equal(again, portrait)
    assert caption.startswith("a close-up photo of a person")
    assert poses.angles == ((0.0, 0.0, 0.0),)
    assert not torch.equal(tiny.run("TinyPortrait", 4, 1, 0.0, 0.0, 0.0, 128)[0], portrait)


# ---- identity ----------------------------------------------------------------------------------


def test_identity_is_a_tagged_unit_vector(tiny: Tiny, analyzer: Any, portrait: Tensor) -> None:
    people, score, report = tiny.run("EncodeIdentity", analyzer, portrait, "one person")
    assert people.vectors.shape == (1, 512)
    assert float(people.vectors.norm()) == pytest.approx(1, abs=1e-5)
    assert people.identities[0].encoder == "tiny-world"
    assert 0.9 < score <= 1 and report == "1 of 1 images with a face, 1 face"


def test_batch_is_averaged_or_counted(tiny: Tiny, analyzer: Any, portrait: Tensor) -> None:
    batch = torch.cat([portrait, portrait.flip(2), portrait * 0.5])
    one, *_ = tiny.run("EncodeIdentity", analyzer, batch, "one person")
    each, *_ = tiny.run("EncodeIdentity", analyzer, batch, "one person per picture")
    assert len(one.identities) == 1 and len(each.identities) == 3
    mean = torch.nn.functional.normalize(each.vectors.mean(0), dim=0)
    assert torch.allclose(one.vectors[0], mean, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 64, 64, 3), (1, 200, 300, 3), (1, 128, 128, 4)])
def test_any_size_and_an_alpha_channel(tiny: Tiny, analyzer: Any, shape: tuple[int, ...]) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    people, *_ = tiny.run("EncodeIdentity", analyzer, image, "one person")
    assert people.vectors.shape == (1, 512)


def test_missing_face_is_named(tiny: Tiny, blind: Any, portrait: Tensor) -> None:
    dark = torch.zeros_like(portrait)
    with pytest.raises(ValueError, match=r"no face was found \(Encode Identity\)"):
        tiny.run("EncodeIdentity", blind, dark, "one person")
    batch = torch.cat([portrait, dark, dark])
    people, *_ = tiny.run("EncodeIdentity", blind, batch, "one person")
    assert len(people.identities) == 1
    with pytest.raises(ValueError, match=r"image 2: no face .*; image 3: no face"):
        tiny.run("EncodeIdentity", blind, batch, "one person per picture")


def test_image_of_nan_is_refused(tiny: Tiny, analyzer: Any, portrait: Tensor) -> None:
    broken = portrait.clone()
    broken[0, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="not numbers"):
        tiny.run("EncodeIdentity", analyzer, broken, "one person")


# ---- pose, mask, composite ---------------------------------------------------------------------


def test_pose_image_is_the_golden(tiny: Tiny) -> None:

    import numpy as np
    from PIL import Image

    golden = PARITY / "pose_1.png"
    poses, image = tiny.run("PoseFromAngles", 30.0, 0.0, 0.0, 256)
    assert poses.angles == ((30.0, 0.0, 0.0),)
    pixels = np.asarray(Image.open(golden))
    assert np.array_equal((image[0].numpy() * 255).round().astype("uint8"), pixels)


def test_large_angles_give_a_warning(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    tiny.run("PoseFromAngles", 80.0, 0.0, 0.0, 128)
    assert "beyond the training range" in caplog.text


def test_pose_from_image_draws_the_measured_pose(
    tiny: Tiny, analyzer: Any, portrait: Tensor
) -> None:
    poses, image, *angles = tiny.run("PoseFromImage", analyzer, portrait, 128)
    assert poses.angles == (tuple(angles),)
    assert torch.equal(image, tiny.run("PoseFromAngles", *angles, 128)[1])


def test_pose_from_image_shows_the_axes_on_the_image(tiny: Tiny) -> None:
    analyzer = tiny.run("LoadTinyAnalyzer")
    image = tiny.run("TinyPortrait", 2, 3, 30.0, 0.0, 0.0, 128)[0]
    (shown,) = tiny.images_shown("PoseFromImage", analyzer, image, 128)
    (face,) = analyzer.find(image[0].movedim(-1, 0))
    assert shown.shape == (512, 512, 3)
    large = torch.nn.functional.interpolate(image.movedim(-1, 1), (512, 512), mode="bilinear")
    drawn = (shown - large[0].movedim(0, -1)).abs().amax(-1) > 0.2
    assert 0.005 < float(drawn.float().mean()) < 0.1
    x, y = (int(4 * value) for value in face.five[2])
    assert drawn[y - 2 : y + 3, x - 2 : x + 3].any()


@pytest.mark.parametrize("region", ["head with hair", "face"])
def test_mask_has_the_size_of_its_image(tiny: Tiny, analyzer: Any, region: str) -> None:
    image = torch.rand(2, 96, 160, 3, generator=torch.Generator().manual_seed(1))
    mask = tiny.run("FaceMask", analyzer, image, region, 0.1, 3.0)
    assert mask.shape == (2, 96, 160)
    assert mask.min() >= 0 and mask.max() <= 1


def test_composite_keeps_the_scene_to_the_last_bit(tiny: Tiny, portrait: Tensor) -> None:
    generated = torch.rand(portrait.shape, generator=torch.Generator().manual_seed(2))
    mask = torch.zeros(1, 128, 128)
    mask[:, 32:96, 32:96] = 1
    for feather in (0.0, 6.0):
        done = tiny.run("Composite", portrait, generated, mask, feather)
        outside = mask[0] == 0
        assert torch.equal(done[:, outside], portrait[:, outside])
        assert torch.equal(done[:, 60:68, 60:68], generated[:, 60:68, 60:68])
    edge = done[0, 32, 64] - portrait[0, 32, 64]
    assert edge.abs().max() < (generated[0, 32, 64] - portrait[0, 32, 64]).abs().max()


def test_composite_matches_sizes_and_batches(tiny: Tiny, portrait: Tensor) -> None:
    generated = torch.rand(3, 64, 64, 3, generator=torch.Generator().manual_seed(3))
    done = tiny.run("Composite", portrait, generated, torch.ones(1, 32, 32), 0.0)
    assert done.shape == (3, 128, 128, 3)


def test_paste_mask_refuses_mismatches(tiny: Tiny, analyzer: Any, portrait: Tensor) -> None:
    two, three = portrait.expand(2, -1, -1, -1), portrait.expand(3, -1, -1, -1)
    with pytest.raises(ValueError, match="2 in scene, 3 in generated and 1 in mask"):
        tiny.run("PasteMask", analyzer, two, three, torch.ones(1, 128, 128), 0.05)


def test_head_and_person_are_those_of_the_command_line(
    tiny: Tiny, analyzer: Any, portrait: Tensor
) -> None:
    from comfyui_dense_face.demo.networks.analyzer import load_analyzer
    from comfyui_dense_face.faces.masks.head_swap import NEW_MARGIN
    from comfyui_dense_face.pipelines.tiny.dense_face import DenseFacePipeline
    from comfyui_dense_face.pipelines.tiny.scenes import GROW

    pipeline = DenseFacePipeline.load(tiny.folder)
    net = load_analyzer(tiny.folder / "tiny_analyzer.safetensors")
    # Random weights find a head everywhere or nowhere: the median of their logits gives both.
    middle = float(net(portrait.movedim(-1, 1)).head_logit.median())
    for other in (pipeline.analyzer, analyzer.patcher.model):
        other.part_out[-1].bias.data[-1] -= middle
    images = portrait.movedim(-1, 1)
    ours = tiny.run("FaceMask", analyzer, portrait, "head with hair", GROW, 0.0)
    assert torch.allclose(ours, pipeline.scene_mask(images), atol=1e-6)
    made = torch.rand(3, 128, 128, 3, generator=torch.Generator().manual_seed(4))
    put, scene = tiny.run("PasteMask", analyzer, portrait, made, ours, NEW_MARGIN)
    three = [x.expand(3, *x.shape[1:]) for x in (images, ours)]
    without, heads = pipeline.swap(three[0], made.movedim(-1, 1), three[1])
    assert put.shape == (3, 128, 128) and torch.allclose(put, heads, atol=1e-6)
    assert torch.equal(scene, without.movedim(1, -1))
    people, *_ = tiny.run("EncodeIdentity", analyzer, portrait, "one person")
    assert torch.allclose(people.vectors[0], pipeline.identity(images).vector, atol=1e-6)


def test_identity_away_from(tiny: Tiny, analyzer: Any, portrait: Tensor) -> None:
    from comfyui_dense_face.faces.identity import Identity, away_from

    person, *_ = tiny.run("EncodeIdentity", analyzer, portrait, "one person")
    people = tiny.people(3)
    apart = tiny.run("IdentityAwayFrom", people, person, 0.2)
    assert len(apart.identities) == 3
    for moved, who in zip(apart.identities, people.identities, strict=True):
        ours = [Identity(each.vector, each.encoder) for each in (who, person.identities[0])]
        assert torch.equal(moved.vector, away_from(*ours, 0.2).vector)
    with pytest.raises(ValueError, match="3 people cannot be kept away from 2 others"):
        tiny.run("IdentityAwayFrom", people, tiny.people(2), 0.2)


# ---- files -------------------------------------------------------------------------------------


def test_missing_and_broken_files_are_named(tiny: Tiny, tmp_path: Any) -> None:
    load = tiny.module("nodes.host.dense_face.adapter_file").load_parts
    with pytest.raises(ValueError, match="missing"):
        load(tmp_path / "none.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((tiny.folder / "tiny_dense_face.safetensors").read_bytes()[:5000])
    with pytest.raises(ValueError, match="truncated"):
        load(cut)
    with pytest.raises(ValueError, match=r"format=None"):
        load(tiny.folder / "tiny_base.safetensors")


def test_unlisted_adapter_names_all_places(tiny: Tiny) -> None:
    import folder_paths

    with pytest.raises(ValueError, match=r"gone\.safetensors is missing.*dense_face"):
        tiny.run("LoadAdapter", "gone.safetensors")
    assert folder_paths.get_folder_paths("dense_face")


def test_folders_of_the_user_are_kept(tiny: Tiny, tmp_path: Any) -> None:
    import folder_paths

    folder_paths.folder_names_and_paths["sfsr"] = ([str(tmp_path)], {".safetensors", ".ckpt"})
    tiny.module("nodes.host.folders").register_folders()
    assert folder_paths.get_folder_paths("sfsr")[0] == str(tmp_path)
    assert len(folder_paths.get_folder_paths("sfsr")) == 2


def test_a_file_changed_to_one_of_the_same_size_is_noticed(tiny: Tiny, tmp_path: Path) -> None:
    mark = tiny.module("nodes.host.folders").file_mark
    file = tmp_path / "adapter.safetensors"
    file.write_bytes(b"one")
    before, moment = mark(file), file.stat().st_mtime_ns
    file.write_bytes(b"two")
    os.utime(file, ns=(moment, moment + 1))
    after = mark(file)
    assert after != before
    file.write_bytes(b"four")
    os.utime(file, ns=(moment, moment + 1))
    assert mark(file) not in (before, after)


# ---- photographs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("node", "rest"),
    [
        ("EncodeIdentity", ("one person",)),
        ("FaceMask", ("head with hair", 0.1, 0.0)),
        ("PoseFromImage", (128,)),
        ("ExpressionFromImage", ()),
    ],
)
def test_a_photograph_is_refused_with_what_to_use(
    tiny: Tiny, node: str, rest: tuple[Any, ...]
) -> None:
    analyzer = tiny.run("LoadTinyAnalyzer")
    image = astronaut().movedim(1, -1)
    with pytest.raises(ValueError, match=r"this is a photograph.* use Load Face Analyzer"):
        tiny.run(node, analyzer, image, *rest)
