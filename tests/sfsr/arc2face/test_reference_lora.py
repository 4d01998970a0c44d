"""The reference adapter's LoRA in both spellings, and what is wrong with others."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.sfsr.arc2face.reference_lora import reference_lora
from comfyui_dense_face.sfsr.ip_adapter.reading import read_adapter_file
from comfyui_dense_face.sfsr.ip_adapter.state_dict import flat_state_dict
from published_bench import PUBLISHED, fixture
from torch import Tensor

FILE = PUBLISHED / "arc2face" / "ref_adapter" / "pytorch_lora_weights.safetensors"
FIRST = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight"


def as_published(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    spelled = {
        f"unet.{name.replace('lora_A', 'lora.down').replace('lora_B', 'lora.up')}": tensor
        for name, tensor in tensors.items()
    }
    return flat_state_dict(spelled, "test")


def test_both_spellings_are_the_same() -> None:
    tensors, target = read_adapter_file(FILE), fixture("arc2face").target
    one, two = (reference_lora(each, target) for each in (tensors, as_published(tensors)))
    assert len(one.pairs) == 64 and one.rank == 4 and all(".attn1." in place for place in one.pairs)
    for place, (down, up) in one.pairs.items():
        assert torch.equal(down, two.pairs[place][0]) and torch.equal(up, two.pairs[place][1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({FIRST: None}, "lacks down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"),
        ({"more": torch.zeros(1)}, "holds unknown weights: more"),
        ({FIRST: torch.zeros(4, 33)}, r"shapes \[4, 33\]"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_other_files_are_refused(change: dict[str, Tensor | None], says: str) -> None:
    altered = {**read_adapter_file(FILE), **change}
    tensors = {name: tensor for name, tensor in altered.items() if tensor is not None}
    with pytest.raises(FacePackError, match=says):
        reference_lora(tensors, fixture("arc2face").target)
