"""Variants and shapes of training images: labels follow the pixels, batches have one shape."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.faces.mirror import mirrored_angles
from comfyui_dense_face.faces.parts import PART_INDEX
from comfyui_dense_face.training.data.batches import Batches
from comfyui_dense_face.training.data.dataset import FaceDataset
from comfyui_dense_face.training.data.order import Order
from comfyui_dense_face.training.data.views import SMALLEST_CROP, Views, bucket_shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images, three of them cropped to upright shapes, with their labels as they were."""
    out = tmp_path_factory.mktemp("data") / "faces"
    words = ["render", str(out), "--count", "7", "--size", "128", "--seed", "3"]
    assert cli.main(words) == 0
    for path in sorted(out.glob("faces/*/images/*.jpg"))[:3]:
        image = Image.open(path).resize((128, 224))
        image.save(path)
    return out


def _data(faces: Path, **more: object) -> FaceDataset:
    size = int(str(more.pop("size", 128)))
    return FaceDataset(faces, size, size // 2, "ibug", views=Views(size, **more))


def test_buckets_are_of_one_area() -> None:
    assert bucket_shapes(512) == ((384, 640), (448, 576), (512, 512), (576, 448), (640, 384))
    assert bucket_shapes(64) == ((64, 64),)
    for size in (192, 320, 768, 1024):
        for height, width in bucket_shapes(size):
            assert height % 64 == width % 64 == 0 and (size, size) in bucket_shapes(size)
            assert 0.7 * size**2 < height * width <= size**2
            assert (width, height) in bucket_shapes(size)


@pytest.mark.parametrize("variant", range(6))
def test_labels_follow_the_image(variant: int, faces: Path) -> None:
    """Eyes are where their landmarks are, on the person's own side, in every variant."""
    data = _data(faces, variants=6)
    whole = data.sample(5)
    sample = data.sample(5, variant)
    assert whole is not None and sample is not None
    image, parts, points = sample["image"], sample["parts"], sample["landmarks"]
    assert image.shape == (3, 128, 128) and parts.shape == sample["depth"].shape == (64, 64)
    assert bool(((points >= 0) & (points <= 1)).all())
    left, right = points[42:48].mean(0), points[36:42].mean(0)
    assert left[0] > right[0]  # the person's left is at the image's right
    for name, centre in (("eye_left", left), ("eye_right", right)):
        cells = (parts == PART_INDEX[name]).nonzero().float().mean(0).flip(0) + 0.5
        assert float((cells / 64 - centre).norm()) < 0.03
    nose = (parts == PART_INDEX["nose"]).nonzero().float().mean(0).flip(0) + 0.5
    # The skin around the nose is near in depth, too.
    row, column = (nose / 1).long().flip(0).tolist()
    assert float(sample["depth"][row, column]) < 0.5
    pose = mirrored_angles(whole["pose"]) if variant % 2 else whole["pose"]
    assert torch.equal(sample["pose"], pose)
    assert torch.equal(sample["feature"], whole["feature"])
    again = _data(faces, variants=6).sample(5, variant)
    assert again is not None and torch.equal(image, again["image"])


def test_a_variant_is_cropped_and_mirrored(faces: Path) -> None:
    data = _data(faces, variants=4)
    shown = [data.sample(4, variant) for variant in range(4)]
    whole, mirrored = shown[0], shown[1]
    assert whole is not None and mirrored is not None
    torch.testing.assert_close(mirrored["image"].flip(-1), whole["image"])
    spans = [s["landmarks"].amax(0) - s["landmarks"].amin(0) for s in shown if s is not None]
    for span in spans[2:]:
        assert bool((span > spans[0]).all()) and bool(
            (span < spans[0] / SMALLEST_CROP + 0.01).all()
        )
    unflipped = _data(faces, variants=2, flip=False).sample(4, 1)
    assert unflipped is not None and unflipped["pose"].equal(whole["pose"])
    assert not torch.equal(unflipped["image"], whole["image"])


def test_images_keep_their_shape(faces: Path) -> None:
    """A circle stays one, and the face is inside."""
    data = _data(faces, size=192, buckets=True)
    groups = data.groups()
    assert [len(group) for group in groups] == [4, 3]
    upright = data.sample(groups[1][0])
    assert upright is not None and upright["image"].shape == (3, 256, 128)
    assert upright["parts"].shape == (128, 64) == upright["depth"].shape
    points = upright["landmarks"]
    assert bool(((points >= 0) & (points <= 1)).all())
    left = points[42:48].mean(0) * torch.tensor([64, 128])
    cells = (upright["parts"] == PART_INDEX["eye_left"]).nonzero().float().mean(0).flip(0) + 0.5
    assert float((cells - left).norm()) < 2
    stretched = _data(faces, size=192).sample(groups[1][0])
    assert stretched is not None and stretched["image"].shape == (3, 192, 192)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(1, 4),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_every_batch_is_of_one_group(sizes: list[int], size: int, seed: int) -> None:
    """In every epoch all records are seen, and a batch depends on its number alone."""
    numbers = iter(range(sum(sizes)))
    groups = [[next(numbers) for _ in range(count)] for count in sizes]
    order = Order(groups, size, seed)
    batches = sum(-(-count // size) for count in sizes) if len(sizes) > 1 else 2 * sizes[0]
    numbered = [range(number * size, (number + 1) * size) for number in range(2 * batches)]
    drawn = [[order.draw(number) for number in each] for each in numbered]
    for number, batch in enumerate(drawn):
        assert len(batch) == size
        assert any({draw.record for draw in batch} <= set(group) for group in groups)
        assert [draw.number for draw in batch] == list(range(number * size, (number + 1) * size))
        assert [Order(groups, size, seed).draw(each.number) for each in batch] == batch
    seen = Counter(draw.record for batch in drawn for draw in batch if draw.epoch == 0)
    assert set(seen) == set(range(sum(sizes)))
    for group in groups:
        place = order.after(group[0], len(group))
        assert place == group[0] and order.after(group[0], 1) in group


def test_batches_of_buckets_resume(faces: Path) -> None:
    """Batch 5 is the same for a run that begins there."""

    def batches() -> Batches:
        return Batches(_data(faces, size=192, buckets=True, variants=2), 2, 1, variants=2)

    first = batches()
    whole = [first.checked(batch) for batch in first.loader(0, 8)]
    assert {tuple(batch["image"].shape[2:]) for batch in whole} == {(192, 192), (256, 128)}
    second = batches()
    resumed = [second.checked(batch) for batch in second.loader(5, 8)]
    for one, other in zip(whole[5:], resumed, strict=True):
        assert one["key"] == other["key"] and torch.equal(one["image"], other["image"])
    variants = [int(v) for batch in whole for v in batch["variant"]]
    assert set(variants) == {0, 1}
