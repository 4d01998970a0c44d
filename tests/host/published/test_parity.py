"""Published adapters' own numbers through the host: its UNet, our nodes' sources and LoRA.

The goldens (tests/data/published_parity) are outputs of the public implementations on a small
random network. Here that network is the host's own UNet class, under the host's names.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from in_host import Tiny, difference
from safetensors.torch import load_file
from torch import Tensor

FIXTURES = Path(__file__).resolve().parents[2] / "data" / "published_parity"
FOLDERS = ("unet", "faceid", "fineface", "arc2face")
TOLERANCE = 1e-4
FILES = {
    "faceid": "faceid/ip-adapter-faceid_sd15.bin",
    "plus": "faceid/ip-adapter-faceid-plus_sd15.bin",
    "plusv2": "faceid/ip-adapter-faceid-plus_sd15.bin",
    "portrait": "faceid/ip-adapter-faceid-portrait_sd15.bin",
    "portrait_v11": "fineface/ip-adapter-faceid-portrait-v11_sd15.bin",
    "au": "fineface/sd15_au_encoder.ckpt",
    "mlp": "arc2face/exp_adapter/exp_adapter_mlp.bin",
    "linear": "arc2face/exp_adapter/exp_adapter_linear.bin",
}
REFERENCE_FILE = "arc2face/ref_adapter/pytorch_lora_weights.safetensors"
UNIT_ROW = 3
LORA_ALONE = "eps.faceid.cond.t981.s0"
"""The reference's adapter at scale 0, whose LoRA still acts;
at weight 0 our node leaves both out."""


def goldens(folder: str) -> dict[str, Tensor]:
    found = load_file(FIXTURES / folder / "forward.safetensors")
    return {name: tensor.float().clone() for name, tensor in found.items()}


CASES = [
    (folder, name)
    for folder in FOLDERS
    for name in goldens(folder)
    if name.startswith("eps.") and name != LORA_ALONE
]


def number(letter: str, name: str, otherwise: float = 1.0) -> float:
    """The value of ``.s0.6`` or ``.ss0.6`` in a golden's name."""
    found = re.search(rf"\.{letter}(\d+(?:\.\d+)?)(?=\.|$)", name)
    return float(found[1]) if found else otherwise


class Published:
    """The fixtures' network and adapters as objects of the host."""

    def __init__(self, tiny: Tiny) -> None:
        self.tiny = tiny
        self.given = {folder: goldens(folder) for folder in FOLDERS}
        arc2face = self.given["arc2face"]
        # Real text encoders are as wide as the UNet's context, the fixture's is wider.
        arc2face["in.text"] = arc2face["te.prompt.0"][..., :128]
        arc2face["in.uncond_text"] = arc2face["te.empty"][..., :128]
        self.adapters: dict[str, Any] = {}
        with torch.inference_mode():
            self.model = tiny.module("nodes.host.tiny.tiny_sd").build_model(_host_unet(), 8)
        self.people = {
            "portrait": self.given["faceid"]["in.id.portrait"][0],
            "portrait_v11": self.given["fineface"]["in.id"][0],
            **{
                kind: self.given["faceid"][f"in.id.{'faceid' if kind == 'faceid' else 'plus'}"][:1]
                for kind in ("faceid", "plus", "plusv2")
            },
        }

    @cached_property
    def target(self) -> Any:
        places = self.tiny.module("sfsr.ip_adapter.places")
        numbers = json.loads((FIXTURES / "unet" / "attention_numbers.json").read_text())
        layers = {
            places.block_of_diffusers(entry["diffusers"]): entry["width"]
            for entry in numbers.values()
        }
        return places.Target(places.in_file_order(layers), width=128, vector=64)

    def adapter(self, kind: str) -> Any:
        """SFSR_ADAPTER of a file."""
        if kind not in self.adapters:
            load = self.tiny.module("sfsr.ip_adapter.load").load_published
            found = load(FIXTURES / FILES[kind], shortcut=kind == "plusv2", target=self.target)
            sockets = self.tiny.module("nodes.sfsr.sockets")
            self.adapters[kind] = sockets.LoadedSFSR(kind, found)
        return self.adapters[kind]

    def person(self, kind: str, faces: int) -> Any:
        """DENSEFACE_IDENTITY of the fixture's first person, in so many photos."""
        identity = self.tiny.module("faces.identity").Identity
        vectors = self.people[kind][: faces or None]
        photos = tuple(identity(vector, "insightface/w600k_r50") for vector in vectors)
        clip: tuple[Any, ...] = (None, None)
        if kind.startswith("plus"):
            given = self.given["faceid"]
            clip = (given["in.clip_hidden"][:1],), given["in.clip_hidden_zero_image"][:1]
        return self.tiny.module("nodes.sockets").People(photos[:1], (photos,), *clip)

    def face(self) -> Any:
        """SFSR_EXPRESSION of the fixture's units."""
        disfa = self.tiny.module("sfsr.disfa")
        expression = self.tiny.module("sfsr.expression")
        units = disfa.UnitIntensities(self.given["fineface"]["in.au"][UNIT_ROW], "fixture")
        code = expression.from_values({})
        return self.tiny.module("nodes.sockets").Expressions((replace(code, units=units),))

    def flame_face(self) -> Any:
        """SFSR_EXPRESSION of the fixture's first FLAME expression."""
        text = " ".join(f"{number:.9g}" for number in self.given["arc2face"]["in.exp"][0].tolist())
        return self.tiny.run("ExpressionFromFLAME", numbers=text)

    def applied(self, name: str) -> Any:
        """The MODEL with what a golden was made with on it, by the node itself."""
        kind = name.split(".")[1]
        if kind in ("base", "id"):
            return self.model
        if kind == "ref":
            return self.with_reference(number("l", name))
        inputs = {
            "model": self.model,
            "balance": 0.0,
            "identity_weight": number("i" if kind == "auip" else "s", name),
            "expression_weight": number("a", name),
            "identity_start_percent": 0.0,
            "identity_end_percent": 1.0,
            "expression_start_percent": 0.3,
            "expression_end_percent": 1.0,
            "keep_identity_out": False,
            "s_scale": number("ss", name),
        }
        if kind == "exp":
            inputs |= {"expression_weight": number("s", name), "expression": self.flame_face()}
            return self.tiny.run("ApplySFSR", adapter=self.adapter(name.split(".")[2]), **inputs)[0]
        if kind in ("au", "auip"):
            inputs["expression"] = self.face()
        if kind == "au":
            return self.tiny.run("ApplySFSR", adapter=self.adapter("au"), **inputs)[0]
        if kind == "auip":
            inputs["expression_adapter"], kind = self.adapter("au"), "portrait_v11"
        person = self.person(kind, int(number("f", name, 0)))
        adapter = self.adapter(kind)
        return self.tiny.run("ApplySFSR", adapter=adapter, identity=person, **inputs)[0]

    def with_reference(self, strength: float) -> Any:
        """The MODEL with the expression and the reference adapter on it."""
        reference = self.tiny.module("nodes.host.sfsr.reference")
        load = self.tiny.module("sfsr.arc2face.reference_lora").load_reference_lora
        lora = load(FIXTURES / REFERENCE_FILE, self.target)
        given = self.given["arc2face"]
        latent = given["in.ref_latent"] / 0.18215  # as the VAE gives it
        model = self.applied("eps.exp.mlp.cond.s1")
        with torch.inference_mode():
            bank = reference.reference_bank(model, self.target, latent, [[given["in.text"], {}]])
            return reference.apply_reference(model, bank, lora, strength)

    def eps(self, model: Any, folder: str, cfg: float, t: int) -> Tensor:
        """Predicted noise at a guidance (1: the prompt's half, 0: the other), in the
        sampler's first call.
        """
        import comfy.samplers

        given = self.given[folder]
        sampling = model.get_model_object("model_sampling")
        sigma = sampling.sigma(torch.tensor([t]))
        x = given["in.x"]
        y = x * (sigma**2 + 1).sqrt().view(-1, 1, 1, 1)
        seen: list[Tensor] = []

        def evaluate_once(net: Any, start: Tensor, *_: Any, extra_args: Any, **__: Any) -> Tensor:
            clean = net(y, sigma, **extra_args)
            seen.append((y - clean) / sigma.view(-1, 1, 1, 1))
            return start

        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds([[given["in.text"], {}]], [[given["in.uncond_text"], {}]])
        guider.set_cfg(cfg)
        with torch.inference_mode():
            levels = torch.tensor([float(sigma[0]), 0.0])
            empty = torch.zeros_like(x)
            guider.sample(empty, empty, comfy.samplers.KSAMPLER(evaluate_once), levels, seed=0)
        return seen[0]


def _host_unet() -> dict[str, Tensor]:
    """The network's tensors under the host's names, which ``pipelines.ldm`` computes."""
    from comfyui_dense_face.pipelines.ldm import unet_ldm_name

    config = json.loads((FIXTURES / "unet" / "config.json").read_text())["unet"]
    weights = load_file(FIXTURES / "unet" / "weights_fp16.safetensors")
    return {unet_ldm_name(name, config): tensor.float() for name, tensor in weights.items()}


@pytest.fixture(scope="module")
def published(tiny: Tiny) -> Published:
    return Published(tiny)


@pytest.mark.parametrize(("folder", "name"), CASES, ids=lambda value: value)
def test_predicted_noise(published: Published, folder: str, name: str) -> None:
    cfg = 0.0 if "uncond" in name else 1.0
    found = published.eps(published.applied(name), folder, cfg, int(number("t", name)))
    assert difference(found, published.given[folder][name]) < TOLERANCE


def test_lora_alone(published: Published) -> None:
    lora = published.tiny.module("nodes.host.sfsr.lora")
    patched = published.model.clone()
    lora.put_lora(patched, published.adapter("faceid").adapter.lora.pairs, 1.0)
    found = published.eps(patched, "faceid", 1.0, 981)
    assert difference(found, published.given["faceid"][LORA_ALONE]) < TOLERANCE


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("faceid", "eps.plusv2.{}.t981.s0.6"),
        ("faceid", "eps.portrait.f3.{}.t261.s1"),
        ("fineface", "eps.auip.{}.t981.a0.5.i0.9"),
        ("arc2face", "eps.exp.mlp.{}.t261.s0.5"),
        ("arc2face", "eps.ref.{}.t981.l0.8.s1"),
    ],
)
def test_both_halves_in_one_batch(published: Published, folder: str, name: str) -> None:
    cond, uncond = (published.given[folder][name.format(half)] for half in ("cond", "uncond"))
    model = published.applied(name.format("cond"))
    found = published.eps(model, folder, 3.0, int(number("t", name)))
    assert difference(found, uncond + 3.0 * (cond - uncond)) < TOLERANCE


def test_the_first_of_the_bank(published: Published) -> None:
    reference = published.tiny.module("nodes.host.sfsr.reference")
    given = published.given["arc2face"]
    latent, text = given["in.ref_latent"] / 0.18215, [[given["in.text"], {}]]
    with torch.inference_mode():
        bank = reference.reference_bank(published.model, published.target, latent, text)
    assert difference(bank["input_blocks.1"], given["ref.bank.first"]) < 1e-5


def test_the_model_is_left_as_it_was(published: Published) -> None:
    published.applied("eps.auip.cond.t981.a1.i1")
    published.applied("eps.ref.cond.t981.l0.8.s1")
    assert not published.model.patches
    found = published.eps(published.model, "unet", 1.0, 981)
    assert difference(found, published.given["unet"]["eps.base.cond.t981"]) < 1e-5
