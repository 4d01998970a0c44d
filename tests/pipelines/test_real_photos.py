"""Photographs on a base of one's own: InsightFace, the landmarker, and CLIP vision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.pipelines.images import open_rgb, tensor_of
from comfyui_dense_face.pipelines.real.clip_vision import load_clip_vision
from landmarker_file import landmarker_file
from PIL import Image
from real_files import Command, write_clip_vision, write_photos
from safetensors.torch import load_file, save_file
from torch import Tensor

pytest.importorskip("insightface")
pytest.importorskip("onnx")
PLUS = {
    "identity": "photo.png",
    "insightface": "buffalo",
    "identity_adapter": "plus.bin",
    "clip_vision": "clip.safetensors",
    "plus_version": "plusv2",
}


@pytest.fixture(scope="module", autouse=True)
def photos(files: Path) -> None:
    write_photos(files)
    write_clip_vision(files / "clip.safetensors")
    for name, width in (("vit_l", 1024), ("bigg", 1664)):
        path = files / f"{name}.safetensors"
        write_clip_vision(path, width=width, layers=1, patch=112, inner=8)
    in_open_clip_names = open_clip_names(load_file(files / "clip.safetensors"))
    save_file(in_open_clip_names, files / "open_clip.safetensors")
    text = {"text_model.embeddings.token_embedding.weight": torch.zeros(4, 4)}
    save_file(text, files / "text_only.safetensors")


def open_clip_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same model as open_clip would have written it."""
    pairs = {
        "vision_model.embeddings.class_embedding": "visual.class_embedding",
        "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
        "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    }
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if "self_attn.q_proj" in name:
            three = [tensors[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            layer = name.replace("vision_model.encoder.layers", "visual.transformer.resblocks")
            layer = layer.replace("self_attn.q_proj.", "attn.in_proj_")
            found[layer] = torch.cat(three)
        elif "self_attn.k_proj" in name or "self_attn.v_proj" in name:
            continue
        elif name == "visual_projection.weight":
            found["visual.proj"] = tensor.T.contiguous()
        else:
            new = pairs.get(name, name)
            for ours, theirs in (
                ("vision_model.encoder.layers", "visual.transformer.resblocks"),
                ("vision_model.pre_layrnorm", "visual.ln_pre"),
                ("vision_model.post_layernorm", "visual.ln_post"),
                ("self_attn.out_proj", "attn.out_proj"),
                ("layer_norm", "ln_"),
                ("fc1", "c_fc"),
                ("fc2", "c_proj"),
            ):
                new = new.replace(ours, theirs)
            found[new] = tensor
    return found


def test_a_person_measured_by_insightface(command: Command, files: Path) -> None:
    drawn = []
    for identity in ("photo.png", "person.safetensors"):
        assert command.express(identity=identity, insightface="buffalo") == 0
        drawn.append(command.image)
    assert not torch.equal(*drawn)
    scene = tensor_of(open_rgb(files / "other_photo.png"))
    assert (
        command.express(identity="photo.png", insightface="buffalo", scene="other_photo.png") == 0
    )
    changed = (command.image != scene).any(1)[0]
    # Within the oriented square of the face with its padding, and not all over the photo.
    assert bool(changed.any()) and changed.float().mean() < 0.5


def test_plus_v2_reads_the_photo(command: Command) -> None:
    drawn = {}
    for name, changes in {
        "v2": {},
        "v2 again": {},
        "open_clip": {"clip_vision": "open_clip.safetensors"},
        "less": {"s_scale": 0.5},
        "Plus": {"plus_version": "plus"},
        "Plus, less": {"plus_version": "plus", "s_scale": 0.5},
        "by name": {"plus_version": "by-name"},
        "other": {"identity": "other_photo.png"},
    }.items():
        assert command.express(**{**PLUS, **changes}) == 0
        drawn[name] = command.image
    first = drawn["v2"]
    assert torch.equal(first, drawn["v2 again"]) and torch.equal(first, drawn["open_clip"])
    assert all(not torch.equal(first, drawn[name]) for name in ("less", "Plus", "other"))
    assert torch.equal(drawn["Plus"], drawn["Plus, less"])  # s_scale is of v2 alone
    assert torch.equal(drawn["Plus"], drawn["by name"])


def test_several_photos_have_tokens_of_their_own(command: Command, files: Path) -> None:
    assert command.express(**PLUS) == 0
    one = command.image
    words = {key: value for key, value in PLUS.items() if key != "identity"}
    two = [str(files / name) for name in ("photo.png", "other_photo.png")]
    assert command.express(**words, identity=two) == 0
    assert not torch.equal(command.image, one)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"clip_vision": None}, "Plus v2 also reads CLIP vision, and none is given"),
    ({"clip_vision": "nowhere.safetensors"}, "to read is missing (--clip-vision"),
    ({"clip_vision": "vit_l.safetensors"}, "ViT-L/14, whose states have 1024 numbers instead"),
    ({"clip_vision": "bigg.safetensors"}, "ViT-bigG/14, whose states have 1664 numbers instead"),
    ({"clip_vision": "text_only.safetensors"}, "the file holds no CLIP vision model"),
    ({"identity": "person.safetensors"}, "a saved identity contains no image"),
    ({"identity": "scene.png"}, "no face was found"),
    ({"s_scale": -1}, "--s-scale is out of range (-1)"),
    ({"insightface": "nowhere"}, "nowhere"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[says for _, says in BAD])
def test_bad_input_is_refused_before_sampling(
    command: Command,
    changes: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command.refused(monkeypatch, **{**PLUS, **changes})
    said = capsys.readouterr().err.strip()
    assert message in said.splitlines()[-1] and "Traceback" not in said


def test_where_to_get_what_is_missing(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.express(**{**PLUS, "clip_vision": None}) == 2
    said = capsys.readouterr().err
    assert "huggingface.co/h94/IP-Adapter" in said and "--clip-vision" in said


def test_incomplete_and_large_encoders(files: Path, tmp_path: Path) -> None:
    weights = load_file(files / "clip.safetensors")
    lacking = {k: v for k, v in weights.items() if not k.endswith("layers.0.mlp.fc2.weight")}
    save_file(lacking, tmp_path / "lacking.safetensors")
    with pytest.raises(FacePackError, match="1 weights of CLIP vision are missing"):
        load_clip_vision(tmp_path / "lacking.safetensors", 160)
    write_clip_vision(tmp_path / "large.safetensors", patch=56)
    weights = load_file(tmp_path / "large.safetensors")
    name = "vision_model.embeddings.position_embedding.weight"
    weights[name] = weights[name].repeat(2, 1)[: 5 * 5 + 1]
    save_file(weights, tmp_path / "large.safetensors")
    with pytest.raises(FacePackError, match="reads images of 280 px instead of 224"):
        load_clip_vision(tmp_path / "large.safetensors", 160)


def test_a_photograph_by_the_landmarker(command: Command, files: Path) -> None:
    data = pytest.importorskip("skimage.data")
    astronaut = data.astronaut()[:300, 60:360]
    Image.fromarray(astronaut).save(files / "astronaut.png")
    given = {"landmarker": landmarker_file(), "scene": "astronaut.png"}
    drawn = []
    for changes in ({}, {"word": None, "expression": "astronaut.png"}):
        assert command.express(**given, **changes) == 0
        drawn.append(command.image)
    scene = torch.from_numpy(astronaut.copy()).movedim(-1, 0) / 255
    changed = (drawn[0][0] != scene).any(0)
    assert bool(changed[60:170, 110:220].any()) and not bool(changed[230:].any())
    assert not torch.equal(*drawn)
    clear = Image.fromarray(astronaut)
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(files / "clear.png")
    assert command.express(**given | {"scene": "clear.png"}) == 0
    with Image.open(command.out) as made:
        assert made.getchannel("A").tobytes() == clear.getchannel("A").tobytes()


def test_a_landmarker_alone_recognises_nobody(
    command: Command, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pytest.importorskip("skimage.data")
    Image.fromarray(data.astronaut()[:300, 60:360]).save(files / "astronaut.png")
    assert command.express(identity="astronaut.png", landmarker=landmarker_file()) == 2
    assert "finds faces and does not recognise people" in capsys.readouterr().err
