"""The renderer: determinism, signs of the angles, ground truth that agrees with the image."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.demo.captions import attributes, caption, identity_free_caption
from comfyui_dense_face.demo.people import CLASSES, IDENTITY_INDEX, Heads, sample_heads
from comfyui_dense_face.demo.renderer.renderer import render, rotation_matrix
from comfyui_dense_face.demo.vocabulary import CONTEXT_LENGTH, WORDS, encode, words_of
from comfyui_dense_face.faces.blendshapes import ARKIT_NAMES, mirrored_name
from comfyui_dense_face.faces.parts import PART_NAMES


def plain_head(seed: int = 3, **classes: str) -> Heads:
    """A frontal, neutral, bald head without glasses or beard, unless ``classes`` says otherwise."""
    heads = sample_heads([seed])
    identity = heads.identity.clone()
    expected = {"glasses": "none", "facial_hair": "none", "hair_style": "bald"} | classes
    for name, word in expected.items():
        identity[0, IDENTITY_INDEX[name]] = CLASSES[name][0].index(word)
    return heads.replace(
        identity=identity,
        expression=torch.zeros(1, 51),
        angles=torch.zeros(1, 3),
        camera=torch.tensor([[0.0, 0.0, 1.0]]),
    )


def repeated(head: Heads, count: int) -> Heads:
    return head[torch.zeros(count, dtype=torch.long)]


def test_same_seed_same_image_whatever_the_batch() -> None:
    alone = render(sample_heads([11]))
    among = render(sample_heads([4, 11], [4, 11]))
    assert torch.equal(alone.rgb[0], among.rgb[1])
    assert torch.equal(alone.landmarks[0], among.landmarks[1])
    assert alone.rgb.shape == (1, 3, 128, 128) and alone.depth.shape == (1, 128, 128)
    assert float(alone.rgb.min()) >= 0 and float(alone.rgb.max()) <= 1


def test_person_depends_on_identity_seed_only() -> None:
    one = sample_heads([1, 2], [9, 9])
    assert torch.equal(one.identity[0], one.identity[1])
    assert not torch.equal(one.angles[0], one.angles[1])
    assert torch.equal(one.angles, sample_heads([1, 2]).angles)


def test_axes_are_those_of_the_pose_image() -> None:
    angles = torch.tensor([[30.0, -20.0, 15.0]])
    rotation = rotation_matrix(angles)[0]
    p, y, r = (torch.deg2rad(torch.tensor(v)) for v in (-20.0, -30.0, 15.0))
    x_axis = (y.cos() * r.cos(), p.cos() * r.sin() + r.cos() * p.sin() * y.sin())
    y_axis = (-y.cos() * r.sin(), p.cos() * r.cos() - p.sin() * y.sin() * r.sin())
    z_axis = (y.sin(), -y.cos() * p.sin())
    expected = torch.tensor([x_axis, y_axis, z_axis]).T
    assert torch.allclose(rotation[:2], expected, atol=1e-6)
    assert torch.linalg.det(rotation) == pytest.approx(1, abs=1e-5)


def test_signs_of_the_angles() -> None:
    angles = torch.tensor([[0.0, 0, 0], [30.0, 0, 0], [0, 25.0, 0], [0, 0, 20.0]])
    marks = render(repeated(plain_head(), 4).replace(angles=angles)).landmarks
    tip, chin, brow = marks[:, 30], marks[:, 8], marks[:, 27]
    assert tip[1, 0] < tip[0, 0] - 0.05  # yaw > 0: nose to the image's left
    assert tip[2, 1] < tip[0, 1] - 0.03  # pitch > 0: nose up
    assert brow[3, 0] > chin[3, 0] + 0.05  # roll > 0: clockwise, the forehead moves right


def test_landmarks_lie_on_their_parts() -> None:
    heads = plain_head()
    expression = heads.expression.clone()
    expression[0, ARKIT_NAMES.index("jawOpen")] = 0.6
    renders = render(heads.replace(expression=expression), size=256)
    assert set(renders.parts.unique().tolist()) == set(range(len(PART_NAMES)))
    parts, marks = renders.parts[0], renders.landmarks[0]
    assert bool(((marks > 0) & (marks < 1)).all())
    groups = {"nose": [29, 30], "eye_right": range(36, 42), "eye_left": range(42, 48),
              "brow_right": range(17, 22), "brow_left": range(22, 27),
              "mouth_interior": range(60, 68)}  # fmt: skip
    for name, which in groups.items():
        centre = marks[list(which)].mean(0)
        x, y = (centre * 256).long().tolist()
        assert PART_NAMES[int(parts[y, x])] == name
    assert marks[36:42, 0].mean() < marks[42:48, 0].mean()  # the person's right is at the left


def test_depth_is_nearer_at_the_nose_and_one_behind() -> None:
    renders = render(plain_head())
    x, y = (renders.landmarks[0, 30] * 128).long().tolist()
    cheek_x, cheek_y = (renders.landmarks[0, 2] * 128).long().tolist()
    assert renders.depth[0, y, x] < renders.depth[0, cheek_y, cheek_x + 4]
    assert renders.depth[0, 0, 0] == 1
    assert not renders.head_mask[0, 0, 0] and renders.head_mask[0, y, x]


def test_every_blendshape_changes_the_image() -> None:
    base = plain_head()
    expression = torch.cat([torch.zeros(1, 51), torch.eye(51)])
    # Closing the lips only means something while the jaw is open.
    close = 1 + ARKIT_NAMES.index("mouthClose")
    expression[close, ARKIT_NAMES.index("jawOpen")] = 1.0
    images = render(repeated(base, 52).replace(expression=expression)).rgb
    changed = (images[1:] - images[:1]).abs().amax(1) > 0.04
    opened = images[1 + ARKIT_NAMES.index("jawOpen")]
    changed[close - 1] = (images[close] - opened).abs().amax(0) > 0.04
    for i, name in enumerate(ARKIT_NAMES):
        assert int(changed[i].sum()) >= 12, name
        other = ARKIT_NAMES.index(mirrored_name(name))
        if other != i:
            assert int((changed[i] ^ changed[other]).sum()) >= 12, name


def test_every_class_is_visible() -> None:
    for name, (words, _) in CLASSES.items():
        companions = {"glasses": "round"} if name == "frame_color" else {}
        if name == "hair_color":
            companions["hair_style"] = "short"
        shown = [plain_head(3, **(companions | {name: word})) for word in words]
        images = torch.cat([render(head).rgb for head in shown])
        for i in range(1, len(words)):
            different = (images[i] - images[i - 1]).abs().amax(0) > 0.04
            assert int(different.sum()) > 20, (name, words[i])


def test_captions_fit_the_vocabulary() -> None:
    heads = sample_heads(range(200))
    generator = torch.Generator().manual_seed(5)
    texts = caption(heads) + identity_free_caption(heads) + caption(heads, generator, drop=0.4)
    assert len(set(WORDS)) == len(WORDS)
    for text in texts:
        assert len(words_of(text)) <= CONTEXT_LENGTH - 4
        assert 2 not in encode(text), text
    assert all("hair" not in text and "*" in text for text in identity_free_caption(heads))
    assert all("background" in words and "expression" in words for words in attributes(heads))


def test_invalid_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        render(plain_head(), size=4)
    with pytest.raises(ValueError, match="length"):
        sample_heads([1, 2], [1])
    with pytest.raises(ValueError, match="generator"):
        caption(plain_head(), drop=0.5)
