"""IP-Adapter-FaceID files: made up here after public descriptions, converted key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.sfsr.compound_inputs import identity_batch
from comfyui_dense_face.sfsr.faceid import ENCODER, LAYERS, convert_faceid
from comfyui_dense_face.sfsr.faceid_file import load_faceid
from torch import Tensor

WIDTHS = [320] * 2 + [640] * 2 + [1280] * 2 + [1280] * 3 + [640] * 3 + [320] * 3 + [1280]
"""Of the published file's numbers 1, 3, ... 31: down, up, middle."""


def published(rank: int = 0, width: int = 768, tokens: int = 4) -> dict[str, Tensor]:
    """A file's tensors; zeros but for the projection and the first and last layer."""
    chance = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=chance) * 0.02

    found = {
        "image_proj.proj.0.weight": drawn(1024, 512),
        "image_proj.proj.0.bias": drawn(1024),
        "image_proj.proj.2.weight": drawn(tokens * width, 1024),
        "image_proj.proj.2.bias": drawn(tokens * width),
        "image_proj.norm.weight": 1 + drawn(width),
        "image_proj.norm.bias": drawn(width),
    }
    for i, channels in enumerate(WIDTHS):
        make = drawn if i in (0, 15) else torch.zeros
        for side in "kv":
            found[f"ip_adapter.{2 * i + 1}.to_{side}_ip.weight"] = make(channels, width)
        for number in (2 * i, 2 * i + 1) if rank else ():
            for name in ("to_q", "to_k", "to_v", "to_out"):
                text = number % 2 == 1 and name in ("to_k", "to_v")
                key = f"ip_adapter.{number}.{name}_lora"
                found[f"{key}.down.weight"] = torch.zeros(rank, width if text else channels)
                found[f"{key}.up.weight"] = torch.full((channels, rank), float(number))
    return found


def test_conversion_computes_what_the_file_says() -> None:
    theirs = published()
    adapter = convert_faceid(theirs).adapter
    assert list(LAYERS.values()) == WIDTHS and list(LAYERS)[-1] == "middle_block"
    vectors = F.normalize(torch.randn(2, 512, generator=torch.Generator().manual_seed(1)))
    people = [[Identity(vector, ENCODER)] for vector in vectors]
    tokens = adapter.embedding.identity(identity_batch(people, adapter.layout))

    def expected(v: Tensor) -> Tensor:
        hidden = F.gelu(v @ theirs["image_proj.proj.0.weight"].T + theirs["image_proj.proj.0.bias"])
        flat = hidden @ theirs["image_proj.proj.2.weight"].T + theirs["image_proj.proj.2.bias"]
        weight, bias = theirs["image_proj.norm.weight"], theirs["image_proj.norm.bias"]
        return F.layer_norm(flat.view(-1, 4, 768), (768,), weight, bias)

    torch.testing.assert_close(tokens, expected(vectors))
    torch.testing.assert_close(adapter.embedding.absent(), expected(torch.zeros(1, 512)))
    made = adapter.attention.source_keys_values("identity", tokens)
    for number, layer in ((1, "input_blocks.1"), (31, "middle_block")):
        for side, found in zip("kv", made[layer], strict=True):
            weight = theirs[f"ip_adapter.{number}.to_{side}_ip.weight"]
            torch.testing.assert_close(found, tokens @ weight.T)


def test_lora_goes_to_its_places() -> None:
    lora = convert_faceid(published(rank=2)).lora
    assert len(lora) == 32 * 4
    block = "1.transformer_blocks.0"
    for number, place in (
        (0, f"input_blocks.1.{block}.attn1.to_q"),
        (11, f"input_blocks.8.{block}.attn2.to_out.0"),
        (12, f"output_blocks.3.{block}.attn1.to_k"),
        (31, f"middle_block.{block}.attn2.to_v"),
    ):
        assert bool((lora[place][1] == number).all())
    assert convert_faceid(published()).lora == {}


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_both_kinds_of_file(tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    tensors, path = published(), tmp_path / f"ip-adapter-faceid_sd15{suffix}"
    if suffix == ".bin":
        parts: dict[str, Any] = {"image_proj": {}, "ip_adapter": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        torch.save(parts, path)
    else:
        save_file(tensors, path)
    kept = load_faceid(path).adapter.embedding.norm.weight
    assert torch.equal(kept, tensors["image_proj.norm.weight"])


def plus() -> dict[str, Tensor]:
    return published() | {"image_proj.perceiver_resampler.proj_in.weight": torch.zeros(1)}


def of_images() -> dict[str, Tensor]:
    rest = {k: t for k, t in published().items() if k.startswith("ip_adapter")}
    return rest | {"image_proj.proj.weight": torch.zeros(3072, 1024)}


def without(name: str) -> dict[str, Tensor]:
    return {k: t for k, t in published(rank=1).items() if k != name}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (lambda: published(width=2048), "is of SDXL"),
        (plus, "is of the Plus kind"),
        (lambda: published(tokens=16), "is of the Portrait kind"),
        (of_images, "not of the FaceID kind"),
        (lambda: {"a": torch.zeros(1)}, "is not an IP-Adapter"),
        (lambda: without("ip_adapter.9.to_v_ip.weight"), r"lacks ip_adapter\.9\.to_v_ip\.weight"),
        (lambda: without("ip_adapter.30.to_out_lora.up.weight"), r"lacks ip_adapter\.30\.to_out"),
        (lambda: published() | {"more": torch.zeros(1)}, "unknown weight more"),
        (
            lambda: published() | {"ip_adapter.5.to_k_ip.weight": torch.zeros(320, 768)},
            r"shape \[320, 768\] instead of \[640, 768\]",
        ),
    ],
)
def test_other_kinds_and_damage_are_named(tensors: Any, says: str) -> None:
    with pytest.raises(FacePackError, match=says):
        convert_faceid(tensors(), "models/ipadapter/x.bin")


def test_a_hostile_file_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return print, ("run",)

    path = tmp_path / "x.bin"
    torch.save({"image_proj": Trap(), "ip_adapter": {}}, path)
    with pytest.raises(FacePackError, match="damaged, or not a weight file"):
        load_faceid(path)
