"""People and images of an identity adapter, its LoRA, its places, the names of encoders."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from comfyui_dense_face.errors import FacePackError
from comfyui_dense_face.faces.encoders.names import (
    ARC2FACE,
    GLINTR100,
    SFACE,
    W600K_R50,
    canonical_encoder,
    encoder_of_file,
    names_of,
    same_encoder,
)
from comfyui_dense_face.faces.identity import Identity, average
from comfyui_dense_face.sfsr.ip_adapter.kinds import KINDS, MEAN, TOKENS
from comfyui_dense_face.sfsr.ip_adapter.places import (
    LAYERS,
    SD15,
    attention_place,
    block_of_diffusers,
    cross_attention_number,
    diffusers_attention,
    in_file_order,
)
from comfyui_dense_face.sfsr.token_attention import constant_attention, source_attention
from published_bench import distance, goldens, identity, numbers, target
from torch import Tensor


def people(count: int, images: int, encoder: str = W600K_R50) -> list[list[Identity]]:
    chance = torch.Generator().manual_seed(3)
    return [
        [
            Identity(F.normalize(torch.randn(64, generator=chance), dim=0), encoder)
            for _ in range(images)
        ]
        for _ in range(count)
    ]


# ---- several images ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["faceid", "portrait"])
def test_images_as_a_mean_or_as_tokens(kind: str) -> None:
    adapter, who = identity(kind), people(2, 3)
    vectors = adapter.vectors(who)
    assert vectors.shape == (2, 3, 64)
    means = adapter.vectors([[average(images)] for images in who])
    count = adapter.layout.tokens
    mean = adapter.tokens(vectors, combining=MEAN)
    torch.testing.assert_close(mean, adapter.tokens(means))
    assert mean.shape == (2, count, 128)
    rows = adapter.tokens(vectors, combining=TOKENS)
    assert rows.shape == (2, 3 * count, 128)
    for i in range(3):
        one = adapter.tokens(vectors[:, i : i + 1])
        torch.testing.assert_close(rows[:, i * count : (i + 1) * count], one)
    own = adapter.tokens(vectors)
    assert torch.equal(own, rows if kind == "portrait" else mean)


def test_plus_reads_the_image_of_each_vector() -> None:
    adapter, given = identity("plus"), goldens("faceid")
    vectors, clip = given["in.id.plus"], given["in.clip_hidden"]
    both = adapter.tokens(vectors[None], clip[None])
    assert both.shape == (1, 8, 128)
    each = given["tok.plus.cond"].flatten(0, 1)[None]
    assert distance(both, each) < 1e-5


@pytest.mark.parametrize(
    ("kind", "vectors", "clip", "combining", "says"),
    [
        ("plus", (1, 1, 64), None, None, r"also reads the face's image\. Connect CLIP vision"),
        ("plus", (1, 2, 64), (1, 1, 17, 160), None, r"\[1, 1\] images for 2 vectors"),
        ("plus", (1, 1, 64), (1, 1, 17, 128), None, r"state of CLIP vision has 128 .* reads 160"),
        ("plus", (1, 2, 64), (1, 2, 17, 160), MEAN, "cannot combine images by 'mean of vectors'"),
        ("faceid", (1, 1, 64), None, "median", "cannot combine images by 'median'"),
        ("faceid", (1, 1, 512), None, None, "face's vector has 512 numbers, the adapter reads 64"),
        ("faceid", (1, 2, 64), None, None, "vectors of a person cancel each other"),
    ],
)
def test_inputs_that_do_not_fit(
    kind: str,
    vectors: tuple[int, ...],
    clip: tuple[int, ...] | None,
    combining: str | None,
    says: str,
) -> None:
    states = None if clip is None else torch.zeros(clip)
    with pytest.raises(FacePackError, match=says):
        identity(kind).tokens(torch.zeros(vectors), states, combining=combining)


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ([], "people with 0 reference images each"),
        ([[]], "people with 0 reference images each"),
        ([*people(1, 2), *people(1, 1)], "people with 1 and 2 reference images"),
        (
            people(1, 1, "insightface/glintr100"),
            r"by 'insightface/glintr100'.*'insightface/w600k_r50' or 'buffalo_l'.*w600k_r50\.onnx",
        ),
        (people(1, 1, SFACE), r"by 'opencv/sface'.*reads.*'insightface/w600k_r50' or 'buffalo_l'"),
        ([[Identity(F.normalize(torch.ones(32), dim=0), W600K_R50)]], "has 32 numbers"),
    ],
)
def test_people_that_do_not_fit(who: list[list[Identity]], says: str) -> None:
    with pytest.raises(FacePackError, match=says):
        identity("faceid").vectors(who)


def test_identities_under_a_former_name_are_read() -> None:
    adapter = identity("faceid")
    former = adapter.vectors(people(1, 1, "insightface/buffalo_l"))
    assert torch.equal(former, adapter.vectors(people(1, 1)))


# ---- LoRA -------------------------------------------------------------------------------------


def test_lora_in_the_weights() -> None:
    lora = identity("faceid").lora
    place = "middle_block.1.transformer_blocks.0.attn2.to_k"
    down, up = lora.pairs[place]
    assert (lora.rank, down.shape, up.shape) == (8, (8, 128), (64, 8))
    assert down.dtype == torch.float16
    weight = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    given = {place: weight, "elsewhere": weight}
    fused = lora.fused(given, 0.7)
    torch.testing.assert_close(fused[place] - weight, 0.7 * (up.float() @ down.float()))
    assert fused["elsewhere"] is weight and given[place] is weight
    assert lora.fused(given, 0.0)[place] is weight
    assert len(lora.pairs) == 32 * 4


def test_lora_keeps_the_dtype_of_the_base() -> None:
    lora = identity("faceid").lora
    place = next(iter(lora.pairs))
    weight = torch.full(lora.delta(place).shape, 0.5, dtype=torch.bfloat16)
    fused = lora.fused({place: weight})[place]
    assert fused.dtype == torch.bfloat16
    assert torch.equal(fused, (0.5 + lora.delta(place)).bfloat16())


def test_portrait_has_no_lora() -> None:
    assert identity("portrait").lora.rank == 0 and not identity("portrait").lora.pairs


# ---- places -----------------------------------------------------------------------------------


def test_places_are_those_of_the_reference() -> None:
    assert target().attentions == len(numbers()) == 32
    for number, entry in numbers().items():
        place = attention_place(number, target())
        assert f"model.diffusion_model.{place}" == entry["compvis"]
        assert diffusers_attention(place) == entry["diffusers"]
        assert target().attention_width(number) == entry["width"]
        block = block_of_diffusers(entry["diffusers"])
        assert block is not None
        if number % 2:
            assert cross_attention_number(block, target()) == number


def test_sd15_is_the_packs_own_map() -> None:
    assert dict(SD15.layers) == LAYERS and tuple(target().layers) == tuple(LAYERS)
    running = dict(sorted(LAYERS.items(), key=lambda item: item[0][:6] == "output"))
    assert tuple(running) != tuple(LAYERS)
    assert tuple(in_file_order(running)) == tuple(LAYERS)


@pytest.mark.parametrize(
    "name", ["conv_in", "down_blocks.0.attentions.2", "mid_block.attentions.1", "up_blocks.1.x"]
)
def test_other_modules_have_no_block(name: str) -> None:
    assert block_of_diffusers(name) is None


# ---- one token ---------------------------------------------------------------------------------


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_a_constant_is_the_attention_of_one_token() -> None:
    query, value = _random(2, 6, 16), _random(2, 16)
    mask = torch.tensor([[0.0, 0.5, 1.0, 1.0, 0.0, 0.25]])
    weight = torch.tensor([0.0, 0.7])
    one_token = _random(2, 1, 16), value[:, None]
    torch.testing.assert_close(
        source_attention(query, one_token, 4, weight, mask),
        constant_attention(value, weight, mask),
    )
    everywhere = constant_attention(value, weight)
    assert everywhere.shape == (2, 1, 16)
    torch.testing.assert_close(
        source_attention(query, one_token, 4, weight), everywhere.expand(2, 6, 16)
    )


def test_the_mask_and_the_weight_leave_the_rest_alone() -> None:
    query, value, both = _random(1, 4, 16), _random(1, 16), (_random(1, 3, 16), _random(1, 3, 16))
    mask = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    inside = mask[0].bool()
    for added in (
        constant_attention(value, 1.0, mask),
        source_attention(query, both, 2, 1.0, mask),
    ):
        assert not added[:, ~inside].any() and bool((added[:, inside] != 0).any(2).all())
    assert not constant_attention(value, 0.0).any()
    assert not source_attention(query, both, 2, 0.0).any()
    assert constant_attention(value.half()).dtype == torch.float16


# ---- encoders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("models/insightface/models/buffalo_l/w600k_r50.onnx", W600K_R50),
        ("antelopev2/glintr100.onnx", GLINTR100),
        ("antelopev2/arcface.onnx", ARC2FACE),
        ("buffalo_s/W600K_MBF.onnx", "insightface/w600k_mbf"),
        ("own/r200.onnx", "insightface/r200"),
    ],
)
def test_encoders_are_named_by_their_file(file: str, name: str) -> None:
    assert encoder_of_file(file) == name
    assert canonical_encoder(name) == name


def test_former_names_are_aliases() -> None:
    assert same_encoder("insightface/buffalo_l", W600K_R50)
    assert same_encoder("insightface/antelopev2", GLINTR100)
    assert not same_encoder("insightface/antelopev2", ARC2FACE)
    assert same_encoder("arcface", ARC2FACE) and same_encoder("antelopev2", GLINTR100)
    assert not same_encoder("tiny-world", "ir-se50") and canonical_encoder("ir-se50") == "ir-se50"
    assert names_of("insightface/buffalo_l")[:2] == (W600K_R50, "buffalo_l")


def test_kinds_say_what_comes_with_them() -> None:
    for kind in KINDS:
        assert kind.licence and kind.start_percent == 0
        assert set(kind.sources) <= {"identity", "expression"}
        assert bool(kind.combining) == ("identity" in kind.sources)
