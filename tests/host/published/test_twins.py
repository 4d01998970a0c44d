"""Published adapters predict the same noise in the host and on diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from comfyui_dense_face.faces.face import Face
from comfyui_dense_face.pipelines.base import load_base
from comfyui_dense_face.pipelines.real.clip_vision import load_clip_vision
from comfyui_dense_face.pipelines.source_attention import InstalledSources, SourceInputs
from comfyui_dense_face.sfsr.ip_adapter.face_image import face_image
from in_host import Tiny, difference
from random_published import published
from real_files import write_clip_vision
from safetensors.torch import load_file
from sfsr_in_host import apply, face_mask, random_published
from torch import Tensor

CLOSE, SEEN = 1e-4, 1e-3
WORDS = "a close-up photo of a person with red hair"
FACEID_ENCODER = "insightface/w600k_r50"


@dataclass(frozen=True)
class Case:
    """identity, expression: Kinds of the adapters; sizes: of the identity's; photo: CLIP vision's
    states are those of a photo, by each side's own code, instead of random ones.
    """

    identity: str = ""
    expression: str = ""
    sizes: tuple[tuple[str, Any], ...] = ()
    masked: bool = False
    photo: bool = False


CASES = {
    "FaceID": Case("FACEID"),
    "FaceID with LoRA": Case("FACEID", sizes=(("rank", 2),)),
    "Plus v2": Case("PLUS_V2", sizes=(("rank", 2),)),
    "Plus": Case("PLUS"),
    "Plus v2 of a photo": Case("PLUS_V2", sizes=(("rank", 2),), photo=True),
    "Portrait": Case("PORTRAIT", sizes=(("tokens", 16),)),
    "FineFace": Case(expression="FINEFACE"),
    "FaceID and FineFace": Case("FACEID", "FINEFACE", (("rank", 2),)),
    "both in a mask": Case("FACEID", "FINEFACE", (("rank", 2),), masked=True),
}


def halves(tiny: Tiny, model: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(x, eps without prompt, eps with prompt) of the first step of two images."""
    seen: dict[str, Tensor] = {}

    def look(found: dict[str, Any]) -> Tensor:
        seen.update({k: v for k, v in found.items() if torch.is_tensor(v)})
        return found["denoised"]

    watched = model.clone()
    watched.set_model_sampler_post_cfg_function(look)
    tiny.sample(watched, tiny.prompt(WORDS), steps=1, batch=2)
    x, sigma = seen["input"], seen["sigma"].reshape(-1, 1, 1, 1)
    without, with_prompt = ((x - seen[f"{half}_denoised"]) / sigma for half in ("uncond", "cond"))
    return x / (1 + sigma**2).sqrt(), without, with_prompt


def states_of_a_photo(tiny: Tiny, folder: Path) -> tuple[Tensor, Tensor]:
    """States [2, T, K] of a face, then of nobody: by the host's class, and on transformers."""
    import comfy.clip_vision

    path = write_clip_vision(folder / "clip.safetensors")
    config = {
        "model_type": "clip_vision_model",
        "num_hidden_layers": 3,
        "hidden_size": 160,
        "num_attention_heads": 2,
        "intermediate_size": 320,
        "hidden_act": "gelu",
        "num_channels": 3,
        "image_size": 224,
        "patch_size": 56,
        "projection_dim": 32,
    }
    image = torch.rand(3, 120, 90, generator=torch.Generator().manual_seed(5))
    five = torch.tensor([[30.0, 45], [55, 48], [41, 58], [31, 70], [51, 72]])

    def face(of: Any) -> Any:
        return of((90, 120), (20, 30, 70, 90), 0.9, five, "five", "test", five=five)

    with torch.inference_mode():
        host = comfy.clip_vision.ClipVisionModel(config)
        missing, unknown = host.load_sd(load_file(path))
        assert not missing and not unknown
        clip_states = tiny.module("nodes.host.clip_states")
        pairs = [(image, face(tiny.module("faces.face").Face))]
        ours = clip_states.face_states(host, pairs, "test"), clip_states.absent_states(host, "test")
    found = load_clip_vision(path, 160).states([face_image(image, face(Face))])
    return torch.cat(ours), torch.cat([found.faces, found.absent])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_same_prediction_as_on_diffusers(tiny: Tiny, case: Case, tmp_path: Path) -> None:
    person = tiny.people(encoder=FACEID_ENCODER)
    states = torch.randn(2, 17, 160, generator=torch.Generator().manual_seed(1))
    in_host = states
    if case.photo:
        in_host, states = states_of_a_photo(tiny, tmp_path)
        assert difference(in_host, states) < CLOSE and difference(states[:1], states[1:]) > SEEN
    clip = (in_host[:1],), in_host[1:]
    who = tiny.module("nodes.sockets").People(person.identities, None, *clip)
    smile = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}
    face = tiny.module("sfsr.expression").from_values(smile)
    faces = tiny.module("nodes.sockets").Expressions((face,))
    mask = face_mask() if case.masked else None
    inputs: dict[str, Any] = {"identity_weight": 0.8, "expression_weight": 1.3, "mask": mask}
    first = random_published(tiny, case.identity or case.expression, **dict(case.sizes))
    inputs["identity"] = who if case.identity else None
    inputs["expression"] = faces if case.expression else None
    if case.identity and case.expression:
        inputs["expression_adapter"] = random_published(tiny, case.expression)
    inputs |= {"lora_strength": 0.7, "s_scale": 0.6}
    with torch.inference_mode():
        x, without, with_prompt = halves(tiny, apply(tiny, first, **inputs))
        text, empty = (tiny.prompt(words)[0][0] for words in (WORDS, ""))

    # The same weights in classes that the host did not load.
    tokens: dict[str, Any] = {}
    absent: dict[str, Any] = {}
    adapters: list[Any] = []
    if case.identity:
        made = published(case.identity, **dict(case.sizes))
        adapters.append(made)
        vector = person.identities[0].vector[None, None]
        tokens["identity"] = made.keys_values(made.tokens(vector, states[None, :1], s_scale=0.6))
        absent["identity"] = made.keys_values(made.absent(states[1:], s_scale=0.6))
    if case.expression:
        made = published(case.expression)
        adapters.append(made)
        units = tiny.module("sfsr.disfa_sources").intensities_of(face).values[None]
        tokens["expression"], absent["expression"] = made.vectors(units), made.absent()
    unet = load_base(tiny.folder / "tiny_base.safetensors").unet
    before = {name: weight.clone() for name, weight in unet.state_dict().items()}
    weights = {name: {"identity": 0.8, "expression": 1.3}[name] for name in tokens}
    source_inputs = SourceInputs(tokens, weights, mask, absent=absent, unprompted=2)
    contexts = torch.cat([empty.expand(2, -1, -1), text.expand(2, -1, -1)])
    with torch.no_grad():
        both = torch.cat([x, x])
        bare = unet(both, torch.tensor(999), contexts).sample.chunk(2)
        with InstalledSources(unet, adapters, source_inputs, lora_strength=0.7):
            found = unet(both, torch.tensor(999), contexts).sample.chunk(2)
        again = unet(both, torch.tensor(999), contexts).sample.chunk(2)
    assert difference(without, found[0]) < CLOSE
    assert difference(with_prompt, found[1]) < CLOSE
    for half in range(2):
        assert difference(found[half], bare[half]) > SEEN
        assert torch.equal(again[half], bare[half])
    assert all(torch.equal(weight, before[name]) for name, weight in unet.state_dict().items())
