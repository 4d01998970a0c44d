"""Encode Arc2Face Identity on the host's CLIP: its own goldens, and bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from locate_host import ROOT
from safetensors.torch import load_file
from torch import Tensor

FOLDER = ROOT / "tests" / "data" / "published_parity" / "arc2face"
REAL_IDS = (49406, 1125, 539, 320, 1014, 2533, 49407)
"""Of the seven words of the fixture's vocabulary, in its order."""
ARC2FACE = "arc2face/arcface"


@pytest.fixture(scope="module")
def given() -> dict[str, Tensor]:
    found = load_file(FOLDER / "forward.safetensors")
    return {name: tensor.float().clone() for name, tensor in found.items()}


@pytest.fixture(scope="module")
def clip(tiny: Tiny) -> Any:
    """The fixture's text encoder as the host's CLIP-L, its words at their real ids."""
    import comfy.sd1_clip
    from comfy.sd import CLIP

    weights = torch.load(FOLDER / "encoder" / "pytorch_model.bin", weights_only=True)
    weights = {name: tensor.float() for name, tensor in weights.items()}
    table = "text_model.embeddings.token_embedding.weight"
    full = torch.zeros(49408, weights[table].shape[1])
    full[list(REAL_IDS)] = weights[table]
    weights[table] = full
    sizes = {
        "hidden_size": 520,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 10,
        "max_position_embeddings": 77,
        "vocab_size": 49408,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "eos_token_id": 49407,
    }

    class Text(comfy.sd1_clip.SD1ClipModel):
        def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None):
            options = {**(model_options or {}), "clip_l_class": Small}
            super().__init__(device=device, dtype=dtype, model_options=options)

    class Small(comfy.sd1_clip.SDClipModel):
        def __init__(self, **options: Any) -> None:
            super().__init__(textmodel_json_config=sizes, **options)

    class Words(comfy.sd1_clip.SD1Tokenizer):
        def __init__(self, embedding_directory: Any = None, tokenizer_data: Any = None) -> None:
            super().__init__(embedding_directory, tokenizer_data or {})
            self.clip_l.embedding_size = 520

    class Target:
        clip, tokenizer, params = Text, Words, {}

    with torch.inference_mode():
        made = CLIP(Target(), parameters=0, tokenizer_data={})
        missing, unexpected = made.cond_stage_model.clip_l.transformer.load_state_dict(
            weights, strict=False
        )
    assert not unexpected and all("text_projection" in name for name in missing)
    return made


def people(tiny: Tiny, vectors: Tensor, encoder: str = ARC2FACE, **more: Any) -> Any:
    identity = tiny.module("faces.identity").Identity
    found = tuple(identity(vector, encoder) for vector in vectors)
    return tiny.module("nodes.sockets").People(found, **more)


def test_prompts_are_those_of_the_reference(
    tiny: Tiny, clip: Any, given: dict[str, Tensor]
) -> None:
    who = people(tiny, given["te.in.id"])
    positive, negative, report = tiny.run("EncodeArc2Face", clip, who, "mean")
    assert positive[0][0].shape == (2, 77, 520)
    for row in range(2):
        golden = given[f"te.prompt.{row}"]
        assert difference(positive[0][0][row : row + 1], golden) < 1e-5
    assert difference(negative[0][0], given["te.empty"]) < 1e-5
    assert report == "Arc2Face: 2 people of 2 photos, mean"


def test_photos_are_combined(tiny: Tiny, clip: Any, given: dict[str, Tensor]) -> None:
    one, other = given["te.in.id"]
    photos = (people(tiny, torch.stack([one, one, other])).identities,)
    mean = torch.nn.functional.normalize(2 * one + other, dim=0)
    who = people(tiny, mean[None], photos=photos)
    found = {how: tiny.run("EncodeArc2Face", clip, who, how)[0][0][0] for how in ("mean", "median")}
    assert difference(found["median"], given["te.prompt.0"]) < 1e-5
    assert difference(found["mean"], given["te.prompt.0"]) > 1e-2


@pytest.mark.parametrize("encoder", ["insightface/glintr100", "insightface/w600k_r50", "ir-se50"])
def test_another_recogniser(tiny: Tiny, clip: Any, given: dict[str, Tensor], encoder: str) -> None:
    who = people(tiny, given["te.in.id"][:1], encoder)
    with pytest.raises(ValueError, match=r"reads vectors of its own arcface\.onnx") as error:
        tiny.run("EncodeArc2Face", clip, who, "mean")
    assert encoder in str(error.value) and "\n" not in str(error.value)


def test_another_vocabulary(tiny: Tiny, given: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match="another vocabulary than CLIP-L"):
        tiny.run("EncodeArc2Face", tiny.clip, people(tiny, given["te.in.id"][:1]), "mean")


def test_a_checkpoints_text_encoder_is_named(
    tiny: Tiny, clip: Any, given: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    import comfy.sd

    who = people(tiny, given["te.in.id"][:1])
    ours = clip.clone()
    ours.patcher.cached_patcher_init = (
        comfy.sd.load_clip_model_patcher,
        (["/models/arc2face/pytorch_model.bin"], None),
    )
    report = tiny.run("EncodeArc2Face", ours, who, "mean")[2]
    assert report.endswith("\ntext encoder: pytorch_model.bin") and not caplog.records
    ours.patcher.cached_patcher_init = (
        comfy.sd.load_checkpoint_clip_patcher,
        ("/models/sd15.safetensors", None),
    )
    report = tiny.run("EncodeArc2Face", ours, who, "mean")[2]
    assert "that of the checkpoint sd15.safetensors, not Arc2Face's" in report
    assert "sd15.safetensors" in caplog.text


def test_another_text_encoder_is_named(
    tiny: Tiny,
    clip: Any,
    given: dict[str, Tensor],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    import comfy.sd

    who, ours = people(tiny, given["te.in.id"][:1]), clip.clone()
    path = tmp_path / "clip_l.safetensors"
    path.touch()
    ours.patcher.cached_patcher_init = comfy.sd.load_clip_model_patcher, ([str(path)], None)
    report = tiny.run("EncodeArc2Face", ours, who, "mean")[2]
    assert "warning: clip_l.safetensors does not seem to be Arc2Face's text encoder" in report
    assert "clip_l.safetensors" in caplog.text
    caplog.clear()
    with path.open("r+b") as file:
        file.truncate(492_308_829)  # the published size
    assert "warning" not in tiny.run("EncodeArc2Face", ours, who, "mean")[2]
    assert not caplog.records
