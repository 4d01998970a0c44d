"""The text encoder of the tiny world as a CLIP of the host.

Only the vocabulary differs from SD1.5's CLIP-L: the tokenizer is the pack's own word list in the
host's tokenizer class, so the host handles weights like ``(red hair:1.3)``, long prompts and
textual inversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import comfy.clip_model
import comfy.sd
import comfy.sd1_clip
import torch
from torch import Tensor

from ....demo import vocabulary
from ....demo.vocabulary import END, START


class WordTokenizer:
    """The part of the transformers tokenizer interface that the host's ``SDTokenizer`` uses."""

    @classmethod
    def from_pretrained(cls, path: str, **kwargs: Any) -> WordTokenizer:
        """The tokenizer; the vocabulary is part of the pack, so nothing is loaded."""
        return cls()

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [START, *vocabulary.encode(text), END]}

    def get_vocab(self) -> dict[str, int]:
        """Word -> token id."""
        return {word: number for number, word in enumerate(vocabulary.WORDS)}

    def decode(self, token_ids: list[int], skip_special_tokens: bool = True) -> str:
        """The words of the given token ids, joined by spaces."""
        words = (vocabulary.WORDS[i] for i in token_ids if not skip_special_tokens or i > END)
        return " ".join(words)


class WordClipModel(comfy.clip_model.CLIPTextModel):
    """The host's CLIP text model with a token table of its own length."""

    def __init__(
        self, config_dict: dict[str, Any], dtype: torch.dtype, device: Any, operations: Any
    ) -> None:
        super().__init__(config_dict, dtype, device, operations)
        width = config_dict["hidden_size"]
        self.set_input_embeddings(
            operations.Embedding(config_dict["vocab_size"], width, dtype=dtype, device=device)
        )


def build_clip(tensors: Mapping[str, Tensor], heads: int, disable_dynamic: bool = False) -> Any:
    """A CLIP from text-model tensors (``embeddings.*``, ``encoder.*``, ``final_layer_norm.*``)."""
    sizes = _sizes(tensors, heads)
    length, width = sizes["max_position_embeddings"], sizes["hidden_size"]
    text_model = partial(
        comfy.sd1_clip.SDClipModel,
        max_length=length,
        textmodel_json_config=sizes,
        model_class=WordClipModel,
        # The end token is also the padding token, as in CLIP-L.
        special_tokens={"start": START, "end": END, "pad": END},
        return_projected_pooled=False,
    )
    words = partial(
        comfy.sd1_clip.SDTokenizer,
        tokenizer_path="",
        max_length=length,
        embedding_size=width,
        tokenizer_class=WordTokenizer,
    )

    class Target:
        """The models that the host's ``CLIP`` builds."""

        params: dict[str, Any] = {}  # noqa: RUF012 (host API)
        clip = partial(comfy.sd1_clip.SD1ClipModel, clip_model=text_model)
        tokenizer = partial(comfy.sd1_clip.SD1Tokenizer, tokenizer=words)

    inside = "clip_l.transformer."
    weights = {f"{inside}text_model.{k}": t for k, t in tensors.items() if "position_ids" not in k}
    # SD1.x never uses it, and the host leaves tensors missing from the file uninitialised.
    weights[f"{inside}text_projection.weight"] = torch.eye(width)
    weights["clip_l.logit_scale"] = torch.tensor(4.6055)
    return comfy.sd.CLIP(
        Target,
        parameters=sum(t.numel() for t in tensors.values()),
        state_dict=weights,
        model_options={"dtype": torch.float32},
        # Hosts before 0.16 do not know the argument, and never ask for it.
        **({"disable_dynamic": True} if disable_dynamic else {}),
    )


def _sizes(tensors: Mapping[str, Tensor], heads: int) -> dict[str, Any]:
    """The CLIP configuration, from the tensors' shapes."""
    words, width = tensors["embeddings.token_embedding.weight"].shape
    layers = {k.split(".")[2] for k in tensors if k.startswith("encoder.layers.")}
    return {
        "vocab_size": words,
        "hidden_size": width,
        "max_position_embeddings": tensors["embeddings.position_embedding.weight"].shape[0],
        "num_hidden_layers": len(layers),
        "intermediate_size": tensors["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_attention_heads": heads,
        "hidden_act": "quick_gelu",
        "eos_token_id": END,
    }
