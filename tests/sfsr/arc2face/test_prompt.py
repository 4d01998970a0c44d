"""The identity in Arc2Face's prompt: which vectors, where, and how photos are combined."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from comfyui_dense_face.errors import IncompatibleError, InputError
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.pipelines.arc2face import encode_prompt, prompt_ids, read_text_encoder
from comfyui_dense_face.sfsr.arc2face.prompt import (
    ID_TOKEN,
    SENTENCE_IDS,
    combined,
    identity_embedding,
    insert_identity,
)
from published_bench import PUBLISHED, fixture

ENCODER = "arc2face/arcface"


def person(seed: int, encoder: str = ENCODER) -> Identity:
    chance = torch.Generator().manual_seed(seed)
    return Identity(F.normalize(torch.randn(512, generator=chance), dim=0), encoder)


def test_zeros_are_appended() -> None:
    found = identity_embedding(person(0))
    assert torch.equal(found[:512], person(0).vector) and not found[512:].any()
    assert found.shape == (768,)


@pytest.mark.parametrize("encoder", ["insightface/glintr100", "antelopev2", "ir-se50"])
def test_another_recogniser_is_refused(encoder: str) -> None:
    with pytest.raises(IncompatibleError, match=r"reads vectors of its own arcface\.onnx"):
        identity_embedding(person(0, encoder))
    assert identity_embedding(person(0, "arcface")).any()  # its former name


def test_a_narrower_text_encoder_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="512 numbers, the text encoder's embeddings 128"):
        identity_embedding(person(0), 128)


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ([49406, 1014, 539, 1014, 49407], "2 words 'id'"),
        ([49406, 539, 49407, 49407, 49407], "0 words 'id'"),
    ],
    ids=["two", "none"],
)
def test_exactly_one_id(ids: list[int], says: str) -> None:
    with pytest.raises(InputError, match=says):
        insert_identity(torch.zeros(1, 5, 768), torch.tensor([ids]), torch.zeros(768))


def test_only_the_id_changes() -> None:
    ids = torch.tensor([SENTENCE_IDS, SENTENCE_IDS])
    embeds = torch.randn(2, len(SENTENCE_IDS), 768)
    found = insert_identity(embeds, ids, torch.ones(768))
    assert SENTENCE_IDS.index(ID_TOKEN) == 4
    assert bool((found[:, 4] == 1).all())
    rest = [0, 1, 2, 3, 5, 6]
    assert torch.equal(found[:, rest], embeds[:, rest]) and not bool((embeds[:, 4] == 1).all())


def test_median_resists_one_unlike_photo() -> None:
    same, other = person(1), person(2)
    photos = [same, same, other]
    mean, median = combined(photos), combined(photos, "median")
    assert torch.allclose(median.vector, same.vector, atol=1e-6) and median.encoder == ENCODER
    assert float(mean.vector @ same.vector) < 0.95
    pair = [combined([same, other], how).vector for how in ("mean", "median")]
    assert torch.equal(*pair)  # of two the median is the mean
    assert torch.equal(combined([same], "median").vector, combined([same]).vector)
    with pytest.raises(InputError, match="Use mean or median"):
        combined(photos, "mode")
    with pytest.raises(IncompatibleError):
        combined([same, person(1, "insightface/glintr100")], "median")


def test_prompts_of_a_text_encoder() -> None:
    encoder = fixture("arc2face").text_encoder
    ids = prompt_ids(encoder)
    assert ids.shape == (1, 77) and tuple(ids[0, :7].tolist()) == SENTENCE_IDS
    assert set(ids[0, 7:].tolist()) == {49407}
    empty = prompt_ids(encoder, sentence=False)
    assert empty[0, 0] == 49406 and set(empty[0, 1:].tolist()) == {49407}
    with pytest.raises(InputError, match="0 words 'id'"):
        encode_prompt(encoder, fixture("arc2face").tensors["te.in.empty_ids"].long(), person(0), 4)


def test_a_file_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="no CLIP text model") as error:
        read_text_encoder(PUBLISHED / "unet" / "weights_fp16.safetensors")
    assert "encoder/pytorch_model.bin" in str(error.value)
