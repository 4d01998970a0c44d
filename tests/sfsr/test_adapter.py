"""The whole adapter: fresh ones change nothing, and files round-trip."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from comfyui_dense_face.errors import FacePackError, IncompatibleError, ModelFileError
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.sfsr.adapter import FORMAT, SFSRAdapter, load_adapter
from comfyui_dense_face.sfsr.compound_inputs import CompoundLayout, expression_batch, identity_batch
from comfyui_dense_face.sfsr.expression import from_values
from comfyui_dense_face.storage import read_weights, write_weights

LAYOUT = CompoundLayout({"tiny-world": 8}, tokens=2, width=12, hidden=6)
LAYERS = {"input_blocks.1": 8, "middle_block": 16, "output_blocks.3": 8}


def adapter(hint: int = 5) -> SFSRAdapter:
    torch.manual_seed(0)
    made = SFSRAdapter(LAYOUT, LAYERS, hint)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.1 * torch.randn(weight.shape))
    return made


@pytest.mark.parametrize("hint", [0, 5])
def test_file_brings_back_the_same(tmp_path: Path, hint: int) -> None:
    made, path = adapter(hint), tmp_path / "a.safetensors"
    made.save(path, {"seed": "3"}, torch.float32)
    found = load_adapter(path)
    assert found.layout == LAYOUT and found.layers == LAYERS and (found.hint is None) == (not hint)
    kept = found.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in made.state_dict().items())
    vector = torch.nn.functional.normalize(torch.ones(8), dim=0)
    who = identity_batch([[Identity(vector, "tiny-world")]], LAYOUT)
    face = expression_batch([from_values({"jawOpen": 0.5})], LAYOUT)
    one, two = (each.attention.keys_values(each.embedding(who, face)) for each in (made, found))
    for source in ("identity", "expression"):
        for layer in LAYERS:
            # Products of tensors that lie elsewhere in memory may differ in the last bit.
            for here, there in zip(one[source][layer], two[source][layer], strict=True):
                assert torch.allclose(here, there, atol=1e-5)
    about = read_weights(path)[1]
    assert about["format"] == FORMAT and about["seed"] == "3"
    assert json.loads(about["identities"]) == {"tiny-world": 8}


def test_half_as_large(tmp_path: Path) -> None:
    whole, half = tmp_path / "w.safetensors", tmp_path / "h.safetensors"
    adapter().save(whole, {}, torch.float32)
    adapter().save(half, {})
    tensors, _ = read_weights(half)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert all(weight.dtype == torch.float32 for weight in load_adapter(half).parameters())


def test_eight_bits_keep_what_matters(tmp_path: Path) -> None:
    """Matrices to within a sixteenth, or a thousandth near zero; biases as in half precision."""
    made, path = adapter(), tmp_path / "e.safetensors"
    made.save(path, {}, torch.float8_e4m3fn)
    kinds = {tensor.ndim > 1: tensor.dtype for tensor in read_weights(path)[0].values()}
    assert kinds == {True: torch.float8_e4m3fn, False: torch.float16}
    found = load_adapter(path).state_dict()
    for name, tensor in made.state_dict().items():
        torch.testing.assert_close(found[name], tensor, rtol=1 / 16, atol=1e-3)


def test_size_for_stable_diffusion() -> None:
    """At most 90 MB in fp16, with one recogniser and without a learned vector."""
    widths = {"input_blocks.1": 320, "input_blocks.2": 320, "input_blocks.4": 640,
              "input_blocks.5": 640, "input_blocks.7": 1280, "input_blocks.8": 1280,
              "middle_block": 1280, **{f"output_blocks.{i}": 1280 for i in (3, 4, 5)},
              **{f"output_blocks.{i}": 640 for i in (6, 7, 8)},
              **{f"output_blocks.{i}": 320 for i in (9, 10, 11)}}  # fmt: skip
    with torch.device("meta"):
        made = SFSRAdapter(CompoundLayout({"arcface": 512}), widths, 320)
    assert len(widths) == 16
    assert sum(weight.numel() for weight in made.parameters()) * 2 < 90e6


@pytest.mark.parametrize(
    ("change", "kind", "sentence"),
    [
        ({"format": "denseface-adapter/1"}, ModelFileError, "says format='denseface-adapter/1'"),
        ({"layers": "[1]"}, ModelFileError, "unusable metadata"),
        ({"layers": "{broken"}, ModelFileError, "unusable metadata"),
        ({"tokens": "many"}, ModelFileError, "unusable metadata"),
        ({"tokens": "0"}, ModelFileError, "unusable metadata"),
        ({"identities": "{}"}, ModelFileError, "unusable metadata"),
        ({"width": "24"}, IncompatibleError, "SFSR adapter"),
        ({"hidden": "900000"}, IncompatibleError, "SFSR adapter"),
        ({"layers": '{"input_blocks.1": 8}'}, ModelFileError, "SFSR adapter"),
    ],
)
def test_files_that_do_not_fit(
    tmp_path: Path, change: dict[str, str], kind: type[FacePackError], sentence: str
) -> None:
    path = tmp_path / "a.safetensors"
    adapter().save(path, {})
    tensors, about = read_weights(path)
    write_weights(path, tensors, {**about, **change})
    with pytest.raises(kind, match=sentence):
        load_adapter(path)


def test_missing_and_foreign_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    adapter().save(path, {})
    tensors, about = read_weights(path)
    name = "embedding.blendshapes_in.linear.weight"
    kept = {key: tensor for key, tensor in tensors.items() if key != name}
    write_weights(path, kept, about)
    with pytest.raises(ModelFileError, match=name):
        load_adapter(path)
    write_weights(path, {**tensors, "foreign": torch.zeros(1)}, about)
    with pytest.raises(ModelFileError, match="foreign"):
        load_adapter(path)
    with pytest.raises(ModelFileError, match="the model file is missing"):
        load_adapter(tmp_path / "none.safetensors")
