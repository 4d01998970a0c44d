"""The identity token through the host's own tokenizer and text model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from in_host import Tiny, difference

TEXT = "a close-up photo of *, smiling, on a blue background"


def encode(tiny: Tiny, text: str, people: Any = None) -> torch.Tensor:
    return tiny.run("EncodePrompt", tiny.clip, tiny.adapter, text, people)[0][0]


def test_without_identity_it_is_the_core_encode(tiny: Tiny) -> None:
    assert torch.equal(encode(tiny, TEXT), tiny.prompt(TEXT)[0][0])


@pytest.mark.parametrize("text", [TEXT, "* , smiling, beside * with red hair"])
def test_token_is_replaced_as_in_the_library(tiny: Tiny, text: str) -> None:
    """The same embedding as ``IdentityToken.replace`` makes, through transformers' encoder."""
    from comfyui_dense_face.dense_face.checkpoints.adapter_file import load_adapter
    from comfyui_dense_face.pipelines.base import load_base
    from comfyui_dense_face.pipelines.text import encode_text, token_ids

    people = tiny.people()
    base = load_base(tiny.folder / "tiny_base.safetensors")
    token = load_adapter(tiny.folder / "tiny_dense_face.safetensors").token
    with torch.inference_mode():
        golden = encode_text(base.text_encoder, token_ids([text]), token, people.vectors)
    assert difference(encode(tiny, text, people), golden) < 1e-5


def test_people_differ(tiny: Tiny) -> None:
    one, other = (encode(tiny, TEXT, tiny.people(seed=s)) for s in (1, 2))
    assert difference(one, other) > 1e-3


def test_three_people_make_a_batch(tiny: Tiny) -> None:
    people = tiny.people(3)
    together = encode(tiny, TEXT, people)
    assert together.shape[0] == 3
    pooled = tiny.run("EncodePrompt", tiny.clip, tiny.adapter, TEXT, people)[0][1]["pooled_output"]
    for i, identity in enumerate(people.identities):
        who = type(people)((identity,))
        text, options = tiny.run("EncodePrompt", tiny.clip, tiny.adapter, TEXT, who)[0]
        assert difference(together[i : i + 1], text) < 1e-5
        assert difference(pooled[i : i + 1], options["pooled_output"]) < 1e-5


def test_weights_work_on_the_token(tiny: Tiny) -> None:
    people = tiny.people()
    plain = encode(tiny, "a portrait of *", people)
    assert difference(encode(tiny, "a portrait of (*:1.0)", people), plain) < 1e-6
    assert difference(encode(tiny, "a portrait of (*:1.5)", people), plain) > 1e-3


def test_long_prompts_go_on_in_a_second_chunk(tiny: Tiny) -> None:
    text = "a portrait of " + "red hair, " * 30 + "*"
    one, other = (encode(tiny, text, tiny.people(seed=s)) for s in (1, 2))
    assert one.shape[1] == 96
    assert torch.equal(one[:, :48], other[:, :48])
    assert difference(one[:, 48:], other[:, 48:]) > 1e-3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a portrait", r"no \* for the person.*apart from other words"),
        ("a*b", "touches another word"),
        ("", r"no \* for the person"),
    ],
)
def test_prompt_without_a_person_is_refused(tiny: Tiny, text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        encode(tiny, text, tiny.people())


def test_clip_of_another_width_is_refused(tiny: Tiny) -> None:
    token = tiny.module("dense_face.identity_token").IdentityToken(768).eval()
    sockets = tiny.module("nodes.sockets")
    wide = sockets.LoadedAdapter("sd15", tiny.adapter.fused, token, "tiny-world")
    with pytest.raises(ValueError, match=r"768 wide, the text encoder 128"):
        tiny.run("EncodePrompt", tiny.clip, wide, TEXT, tiny.people())


def test_identity_of_another_encoder_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"'buffalo_l'.*'tiny-world'"):
        encode(tiny, TEXT, tiny.people(encoder="buffalo_l"))


def test_real_clip_tokenizer_keeps_the_placeholder(tiny: Tiny) -> None:
    """CLIP-L of the host: ``*`` is token 265 wherever our spacing has set it apart."""
    import comfy.sd1_clip

    tokenizer = comfy.sd1_clip.SD1Tokenizer()
    spaced = tiny.module("dense_face.prompt").spaced_prompt
    for text in ("a photo of *.", "(*:1.2), smiling", "*, *", "photo of (*)"):
        tokens = [t for t, _ in tokenizer.tokenize_with_weights(spaced(text))["l"][0]]
        assert tokens.count(265) == text.count("*"), text
    joined = [t for t, _ in tokenizer.tokenize_with_weights("a photo of *.")["l"][0]]
    assert 265 not in joined, "the trap that the spacing is for"
