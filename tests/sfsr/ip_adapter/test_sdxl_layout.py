"""FaceID files for SDXL: layout, numbers and places against diffusers' public classes."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError
from comfyui_dense_face.sfsr.ip_adapter.expected import check_layout, expected_shapes
from comfyui_dense_face.sfsr.ip_adapter.kinds import (
    FACEID,
    FINEFACE,
    PLUS,
    PLUS_V2,
    PORTRAIT,
    AdapterKind,
)
from comfyui_dense_face.sfsr.ip_adapter.layout import ExpressionLayout, IdentityLayout, recognise
from comfyui_dense_face.sfsr.ip_adapter.load import load_published
from comfyui_dense_face.sfsr.ip_adapter.places import (
    SD15,
    SDXL,
    Target,
    attention_place,
    cross_attention_number,
    diffusers_attention,
    in_file_order,
)
from diffusers import UNet2DConditionModel
from torch import Tensor

FACEID_SDXL = IdentityLayout(FACEID, SDXL, 512, 1024, 4, 128)
PORTRAIT_SDXL = IdentityLayout(PORTRAIT, SDXL, 512, 1024, 16)
PLUS_SDXL = IdentityLayout(PLUS, SDXL, 512, 1024, 4, 128, 1280, 4, 8192)


def empty(layout: IdentityLayout | ExpressionLayout) -> dict[str, Tensor]:
    return {n: torch.empty(s, device="meta") for n, s in expected_shapes(layout).items()}


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    """SDXL's network by its published configuration, without values."""
    cross = "CrossAttnDownBlock2D"
    with torch.device("meta"):
        sizes: dict[str, Any] = dict(
            block_out_channels=(320, 640, 1280),
            down_block_types=("DownBlock2D", cross, cross),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 10),
            attention_head_dim=(5, 10, 20),
            cross_attention_dim=2048,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=2816,
        )
        return UNet2DConditionModel(**sizes)


def test_numbers_and_places_are_those_of_diffusers(unet: UNet2DConditionModel) -> None:
    theirs = [name.removesuffix(".processor") for name in unet.attn_processors]
    assert len(SDXL.layers) == 70 and SDXL.attentions == len(theirs) == 140
    for number, name in enumerate(theirs):
        assert diffusers_attention(attention_place(number, SDXL)) == name
        attention: Any = unet.get_submodule(name)
        width, text = attention.to_k.weight.shape
        assert SDXL.attention_width(number) == width
        assert text == (SDXL.width if number % 2 else width)
    for number, layer in enumerate(SDXL.layers):
        assert cross_attention_number(layer, SDXL) == 2 * number + 1


def test_the_files_order_is_found_again() -> None:
    for target in (SDXL, SD15):
        shuffled = dict(sorted(target.layers.items(), reverse=True))
        assert tuple(in_file_order(shuffled)) == tuple(target.layers)


@pytest.mark.parametrize(
    ("layout", "bytes_fp16"),
    [(FACEID_SDXL, 1_071_015_936), (PORTRAIT_SDXL, 749_807_616)],
    ids=["FaceID", "Portrait"],
)
def test_sizes(layout: IdentityLayout, bytes_fp16: int) -> None:
    assert 2 * sum(map(prod, expected_shapes(layout).values())) == bytes_fp16


@pytest.mark.parametrize(
    ("layout", "shortcut", "kind"),
    [
        (FACEID_SDXL, False, FACEID),
        (PORTRAIT_SDXL, False, PORTRAIT),
        (PLUS_SDXL, False, PLUS),
        (PLUS_SDXL, True, PLUS_V2),
    ],
)
def test_the_base_is_recognised_by_the_text(
    layout: IdentityLayout, shortcut: bool, kind: AdapterKind
) -> None:
    tensors = empty(layout)
    found = recognise(tensors, shortcut=shortcut)
    assert isinstance(found, IdentityLayout)
    assert found.target is SDXL and found.kind == kind
    assert (found.hidden, found.tokens, found.rank) == (layout.hidden, layout.tokens, layout.rank)
    check_layout(tensors, found)


def test_a_file_for_sdxl_on_a_base_of_sd15() -> None:
    with pytest.raises(
        IncompatibleError, match="is for SDXL, whose text has 2048 numbers"
    ) as error:
        recognise(empty(FACEID_SDXL), target=SD15, where="x.bin")
    assert "ip-adapter-faceid_sd15" in str(error.value)
    with pytest.raises(IncompatibleError, match=r"is for Stable Diffusion 1\.5, .*instead of 2048"):
        recognise(empty(IdentityLayout(FACEID, SD15, 512, 1024, 4, 128)), target=SDXL)


def test_smaller_relatives_of_sdxl_are_another_layout() -> None:
    """Distilled bases have the text of SDXL and fewer transformers."""
    fewer = Target({name: width for name, width in SDXL.layers.items() if "s.9" not in name}, 2048)
    tensors = empty(IdentityLayout(PORTRAIT, fewer, 512, 1024, 16))
    with pytest.raises(Exception, match=r"file lacks \d+ weights"):
        check_layout(tensors, recognise(tensors))


def test_fineface_and_image_adapters_for_sdxl_are_refused() -> None:
    with pytest.raises(IncompatibleError, match="this FineFace is for SDXL"):
        recognise(empty(ExpressionLayout(FINEFACE, SDXL, 12)))
    images = {
        **{n: t for n, t in empty(PORTRAIT_SDXL).items() if n.startswith("ip_adapter.")},
        "image_proj.latents": torch.empty(1, 16, 1280, device="meta"),
    }
    with pytest.raises(IncompatibleError, match="reads images instead of a face's vector"):
        recognise(images)


def test_the_variant_of_vectors_that_are_not_normalised(tmp_path: Path) -> None:
    """Nothing but its name tells it, so nothing but the name is needed."""
    path = tmp_path / "ip-adapter-faceid-portrait_sdxl_unnorm.bin"
    path.write_bytes(b"")
    with pytest.raises(
        IncompatibleError, match=r"not normalised.* Use ip-adapter-faceid-portrait_s"
    ):
        load_published(path)
