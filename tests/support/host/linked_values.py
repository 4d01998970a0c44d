"""Values that links of a graph may carry, legal and not, by type of socket."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from in_host import Tiny
from torch import Tensor

NAN = float("nan")


def _rand(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


@dataclass
class Pool:
    """Values by type of socket: such as a node is made for, and such as only links carry.

    Values that no node has made yet are missing: a node that needs one cannot run.
    """

    good: dict[str, list[Any]]
    odd: dict[str, list[Any]]

    def keep(self, kind: str, value: Any) -> None:
        """Offer what a node returned to later nodes."""
        known = self.good.setdefault(kind, [])
        if len(known) < MOST:
            known.append(value)

    def inputs(self, schema: Any, rng: random.Random) -> dict[str, Any] | None:
        """Inputs for a node, some of them odd; None where there is nothing for a required one."""
        found: dict[str, Any] = {}
        strange = rng.sample(schema.inputs, k=min(len(schema.inputs), rng.choice([0, 0, 1, 2])))
        for item in schema.inputs:
            if item.optional and item not in strange and rng.random() < 0.5:
                continue
            value = self._value(item, item in strange, rng)
            if value is not None:
                found[item.id] = value
            elif not item.optional:
                return None
        # As the host sends them to a node that takes lists.
        return {k: [v] for k, v in found.items()} if schema.is_input_list else found

    def _value(self, item: Any, odd: bool, rng: random.Random) -> Any:
        kind = item.io_type
        if kind in ("INT", "FLOAT"):
            return _number(item, odd, rng)
        if kind == "COMBO":
            return "nonsense" if odd else rng.choice(item.options)
        if kind == "BOOLEAN":
            return rng.random() < 0.5
        if kind == "STRING":
            return rng.choice(["", "*", "(*:1.2) ((", "1 2 3", "ä", "0"]) if odd else "a photo of *"
        table = self.odd if odd and kind in self.odd else self.good
        fitting = [value for each in kind.split(",") for value in table.get(each, ())]
        return rng.choice(fitting) if fitting else None


def _number(item: Any, odd: bool, rng: random.Random) -> Any:
    """Sizes and counts are small where they are legal: other tests are about memory."""
    if odd:
        beyond = [item.min - 1, item.max + 1, NAN, float("inf"), -1e30, 2**70]
        return rng.choice([*beyond, item.min, *(() if item.id in LARGE else (item.max,))])
    if item.id in LARGE:
        return item.min
    usual = item.min if item.default is None else item.default
    return rng.choice([usual, usual, item.min, item.max])


LARGE = ("size", "count", "steps", "batch_size", "grad_accumulation_steps")
MOST = 12
"""Values of one kind that are kept."""


def _images() -> tuple[list[Any], list[Any]]:
    good = [_rand(1, 64, 64, 3), _rand(2, 64, 64, 3), _rand(1, 64, 64, 4), _rand(3, 40, 72, 3)]
    odd = [_rand(1, 64, 64, 1), _rand(1, 1, 1, 3), _rand(1, 5, 33, 3), _rand(2, 64, 64, 3).half()]
    odd += [
        _rand(1, 64, 0, 3),
        _rand(0, 64, 64, 3),
        _rand(1, 64, 64, 3) * NAN,
        _rand(64, 64, 3),
        _rand(1, 64, 64, 2),
        (255 * _rand(1, 64, 64, 3)).byte(),
        20 * _rand(1, 64, 64, 3) - 10,
    ]
    return good, odd


def _masks() -> tuple[list[Any], list[Any]]:
    half = torch.zeros(1, 64, 64)
    half[:, 16:48, 16:48] = 1
    good = [half, half.expand(2, -1, -1), half[0], _rand(3, 40, 72)]
    odd = [torch.ones(1, 64, 64), torch.zeros(1, 64, 64), half * 1.0000001, half * 1.1 - 0.05]
    odd += [half.half(), half[None], torch.ones(1, 1, 1), torch.zeros(64), half.bool()]
    odd += [half * NAN, torch.zeros(1, 64, 0), torch.zeros(0, 64, 64), half * 255]
    return good, odd


def _latents() -> tuple[list[Any], list[Any]]:
    noise_mask = torch.zeros(1, 1, 64, 64)
    noise_mask[..., :32] = 1
    good = [{"samples": torch.zeros(n, 4, 8, 8)} for n in (1, 2, 3)]
    good.append({"samples": _rand(1, 4, 8, 8), "noise_mask": noise_mask})
    odd: list[Any] = [{"samples": torch.zeros(1, 4, 3, 5)}, {"samples": _rand(1, 4, 8, 8).half()}]
    odd += [
        {"samples": _rand(1, 4, 8, 8) * NAN},
        {"samples": torch.zeros(1, 4, 2, 8, 8)},
        {"samples": torch.zeros(1, 4, 0, 8)},
        {},
    ]
    return good, odd


def first_values(tiny: Tiny, sfsr: Any, head: Any) -> Pool:
    """What the pack's nodes get from the host's, or from their loaders."""
    import comfy.samplers
    from comfy_extras.nodes_custom_sampler import Noise_RandomNoise

    analyzer = tiny.module("nodes.host.tiny.analyzer").load_analyzer(
        tiny.folder / "tiny_analyzer.safetensors"
    )
    sockets = tiny.module("nodes.sockets")
    guider = comfy.samplers.CFGGuider(tiny.model)
    guider.set_conds(tiny.prompt("a person"), tiny.prompt(""))
    good = {
        "MODEL": [tiny.model, tiny.apply(), tiny.apply(mode="runtime", people=tiny.people(2))],
        "CLIP": [tiny.clip],
        "VAE": [tiny.vae],
        "CONDITIONING": [tiny.prompt("a person"), tiny.prompt("")],
        "SIGMAS": [torch.tensor([14.6, 3.0, 0.0]), torch.tensor([14.6, 0.0])],
        # The host's ancestral samplers add 1 to the seed.
        "NOISE": [Noise_RandomNoise(0), Noise_RandomNoise(2**64 - 2)],
        "SAMPLER": [comfy.samplers.sampler_object(n) for n in ("euler", "euler_cfg_pp")],
        "GUIDER": [guider],
        "DENSEFACE_ADAPTER": [tiny.adapter],
        "DENSEFACE_IDENTITY": [tiny.people(n) for n in (1, 2, 3)],
        "DENSEFACE_ANALYZER": [sockets.LoadedAnalyzer(*analyzer)],
        "DENSEFACE_ANNOTATION_HEAD": [head],
        "SFSR_ADAPTER": [sfsr],
        "BOUNDING_BOX": [{"x": 3, "y": 4, "width": 30, "height": 40}],
        "FACE_LANDMARKS": [[]],
        "INSIGHTFACE": [object()],
    }
    odd: dict[str, list[Any]] = {
        "SIGMAS": [torch.tensor(n) for n in ([2.0], [], [NAN, 0.0])],
        "DENSEFACE_IDENTITY": [tiny.people(1, "ir-se50")],
        "BOUNDING_BOX": [
            [[{"x": 3, "y": 4, "width": 30, "height": 40}], []],
            [],
            {"x": NAN, "y": 4, "width": 30, "height": 40},
            {"x": 3, "y": 4, "width": 0, "height": -1},
            {"x": 1e30, "y": 4, "width": 30, "height": 40},
            [3, 4],
            {},
        ],
        "FACE_LANDMARKS": [{}, [None], 3, "x", [{"landmarks": torch.zeros(478, 3)}]],
        "INSIGHTFACE": [3, "x", []],
    }
    for kind, (usual, strange) in {
        "IMAGE": _images(),
        "MASK": _masks(),
        "LATENT": _latents(),
    }.items():
        good[kind], odd[kind] = usual, strange
    return Pool(good, odd)
