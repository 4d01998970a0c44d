"""Published adapters' own numbers through the binding to diffusers.

The goldens (tests/data/published_parity, docs/reference/parity.md 10) are outputs of the public
implementations. Here both halves of the guidance go through one call of the UNet, with what
``pipelines.real.adapters`` makes of a person and a face; the sizes of the deliberate mistakes are
those of parity.md 12, to two digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from comfyui_dense_face.evaluation.parity.arc2face_outputs import EXPRESSION_ROW
from comfyui_dense_face.evaluation.parity.published_outputs import (
    FACE_ROW,
    TOLERANCES,
    UNIT_ROW,
    Golden,
)
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.pipelines.arc2face import REFERENCE_FILE
from comfyui_dense_face.pipelines.real.adapters import Sources, prepare_sources
from comfyui_dense_face.pipelines.real.clip_vision import ClipStates
from comfyui_dense_face.pipelines.reference import InstalledReference, reference_bank
from comfyui_dense_face.pipelines.source_attention import InstalledSources, SourceInputs
from comfyui_dense_face.sfsr.arc2face.flame import flame_expression
from comfyui_dense_face.sfsr.arc2face.reference_lora import load_reference_lora
from comfyui_dense_face.sfsr.disfa import UnitIntensities
from comfyui_dense_face.sfsr.expression import Expression, from_values
from comfyui_dense_face.sfsr.ip_adapter.lora import AdapterLora
from published_bench import distance, fineface, fixture, goldens, identity
from torch import Tensor

ENCODER = "insightface/w600k_r50"
TOLERANCE = TOLERANCES["eps."]
CASES = [
    (folder, name)
    for folder in ("unet", "faceid", "fineface", "arc2face")
    for name in goldens(folder)
    if name.startswith("eps.")
]


@dataclass(frozen=True)
class Reference:
    """A reference's bank and the adapter's LoRA."""

    bank: Mapping[str, Tensor]
    lora: AdapterLora
    strength: float
    unprompted: int = 1


@dataclass(frozen=True)
class Inputs:
    """Everything that InstalledSources gets; a mistake changes a field."""

    sources: Sources
    weights: Mapping[str, float]
    lora_strength: float = 1.0
    reference: Reference | None = None


def person(folder: str, kind: str, faces: int) -> tuple[list[Identity], ClipStates | None]:
    """Photos of the fixture's first person."""
    given = goldens(folder)
    own = f"in.id.{kind}"
    vectors = given[own if own in given else "in.id" if "in.id" in given else "in.id.plus"]
    vectors = vectors[FACE_ROW] if vectors.ndim == 3 else vectors[FACE_ROW : FACE_ROW + 1]
    clip = None
    if kind.startswith("plus"):
        clip = ClipStates(given["in.clip_hidden"][:1], given["in.clip_hidden_zero_image"][:1])
    return [Identity(vector, ENCODER) for vector in vectors[: faces or None]], clip


def face(units: Callable[[Tensor], Tensor] = lambda units: units) -> Expression:
    """The fixture's units as an expression."""
    values = units(goldens("fineface")["in.au"][UNIT_ROW].clone())
    return replace(from_values({}), units=UnitIntensities(values, "fixture"))


def flame_face(numbers: Callable[[Tensor], Tensor] = lambda numbers: numbers) -> Expression:
    """The fixture's first FLAME expression."""
    return flame_expression(numbers(goldens("arc2face")["in.exp"][EXPRESSION_ROW].clone()))


def reference(strength: float) -> Reference:
    """The fixture's, by the pack's own pass and reader."""
    made = fixture("arc2face")
    bank = reference_bank(made.unet, made.tensors["in.ref_latent"], made.text("cond"))
    return Reference(bank, load_reference_lora(made.folder / REFERENCE_FILE, made.target), strength)


def inputs_of(folder: str, golden: Golden) -> Inputs:
    """What a golden was made with."""
    kind, numbers = golden.kind, golden.numbers
    if kind in ("base", "id"):
        return Inputs(Sources(), {})
    if kind.startswith("exp."):
        flame = fixture("arc2face").flame(kind.removeprefix("exp."))
        return Inputs(prepare_sources(None, flame, [], flame_face()), {"expression": numbers["s"]})
    if kind == "ref":
        flame = fixture("arc2face").flame("mlp")
        made = prepare_sources(None, flame, [], flame_face())
        return Inputs(made, {"expression": numbers["s"]}, reference=reference(numbers["l"]))
    expression = face() if kind in ("au", "auip") else None
    adapter = fineface() if expression else None
    if kind == "au":
        sources = prepare_sources(None, adapter, [], expression)
        return Inputs(sources, {"expression": numbers["a"]})
    who = "portrait_v11" if kind == "auip" else kind
    photos, clip = person(folder, who, int(numbers.get("f", 0)))
    s_scale = numbers.get("ss", 1.0)
    sources = prepare_sources(identity(who), adapter, photos, expression, clip, s_scale)
    if kind == "auip":
        return Inputs(sources, {"identity": numbers["i"], "expression": numbers["a"]})
    return Inputs(sources, {"identity": numbers.get("s", 1.0)})


@torch.no_grad()
def predicted(folder: str, inputs: Inputs, t: int) -> dict[str, Tensor]:
    """Noise of both halves, in one call."""
    made = fixture(folder)
    contexts = torch.cat([made.text("uncond"), made.text("cond")])
    sources, x = inputs.sources, made.tensors["in.x"]
    given = SourceInputs(sources.tokens, inputs.weights, absent=sources.absent, unprompted=1)
    with ExitStack() as installed:
        found = inputs.reference
        if found is not None:
            more = found.bank, found.lora, found.strength, found.unprompted
            installed.enter_context(InstalledReference(made.unet, *more))
        installed.enter_context(
            InstalledSources(made.unet, sources.adapters, given, inputs.lora_strength)
        )
        both = made.unet(torch.cat([x, x]), torch.tensor(t), contexts).sample
    return dict(zip(("uncond", "cond"), both.split(1), strict=True))


def read(name: str) -> Golden:
    found = Golden.read(name)
    assert found is not None
    return found


@pytest.mark.parametrize(("folder", "name"), CASES, ids=lambda value: value)
def test_predicted_noise(folder: str, name: str) -> None:
    golden = read(name)
    found = predicted(folder, inputs_of(folder, golden), int(golden.numbers["t"]))
    assert distance(found[golden.half], goldens(folder)[name]) < TOLERANCE


Change = Callable[[Inputs], Inputs]


@dataclass(frozen=True)
class Mistake:
    says: str
    folder: str
    name: str
    change: float
    make: Change


def sources(**changes: Any) -> Change:
    return lambda inputs: replace(inputs, sources=replace(inputs.sources, **changes))


def exchanged_layers(inputs: Inputs) -> Inputs:
    """The tokens' keys and values, or constants, of numbers 5 and 7."""
    layers = tuple(fixture("faceid").target.layers)
    five, seven = layers[2], layers[3]

    def turned(by_layer: Mapping[str, Any]) -> dict[str, Any]:
        return {**by_layer, five: by_layer[seven], seven: by_layer[five]}

    made = inputs.sources
    return sources(
        tokens={name: turned(each) for name, each in made.tokens.items()},
        absent={name: turned(each) for name, each in made.absent.items()},
    )(inputs)


def keys_for_values(inputs: Inputs) -> Inputs:
    return sources(
        tokens={
            name: {layer: (v, k) for layer, (k, v) in made.items()}
            for name, made in inputs.sources.tokens.items()
        }
    )(inputs)


def lids_and_jaw_at_rest(inputs: Inputs) -> Inputs:
    def at_rest(numbers: Tensor) -> Tensor:
        return torch.cat([numbers[:50], torch.zeros(5)])

    flame = fixture("arc2face").flame("mlp")
    return replace(inputs, sources=prepare_sources(None, flame, [], flame_face(at_rest)))


def plus_instead_of_v2(inputs: Inputs) -> Inputs:
    photos, clip = person("faceid", "plus", 0)
    return replace(inputs, sources=prepare_sources(identity("plus"), None, photos, None, clip))


def s_scale_ignored(inputs: Inputs) -> Inputs:
    photos, clip = person("faceid", "plusv2", 0)
    return replace(inputs, sources=prepare_sources(identity("plusv2"), None, photos, None, clip))


def first_face_only(inputs: Inputs) -> Inputs:
    photos, _ = person("faceid", "portrait", 1)
    return replace(inputs, sources=prepare_sources(identity("portrait"), None, photos, None))


def units(of: Callable[[Tensor], Tensor]) -> Change:
    return lambda inputs: replace(inputs, sources=prepare_sources(None, fineface(), [], face(of)))


def twelve_and_fifteen(units: Tensor) -> Tensor:
    return units[[0, 1, 2, 3, 4, 5, 7, 6, 8, 9, 10, 11]]


def in_both_halves(inputs: Inputs) -> Inputs:
    return sources(absent=inputs.sources.tokens)(inputs)


def weights(**changes: float) -> Change:
    return lambda inputs: replace(inputs, weights={**inputs.weights, **changes})


def lora(strength: float) -> Change:
    return lambda inputs: replace(inputs, lora_strength=strength)


def referred(**changes: Any) -> Change:
    def change(inputs: Inputs) -> Inputs:
        assert inputs.reference is not None
        return replace(inputs, reference=replace(inputs.reference, **changes))

    return change


def without_bank(inputs: Inputs) -> Inputs:
    assert inputs.reference is not None
    return referred(bank={block: x[:, :0] for block, x in inputs.reference.bank.items()})(inputs)


REFERENCE, NOT_REFERRED = "eps.ref.cond.t981.l0.8.s1", "eps.ref.uncond.t981.l0.8.s1"
FACE, WEAK = "eps.faceid.cond.t981.s1", "eps.faceid.cond.t981.s0.6"
NOBODY, AT_REST = "eps.faceid.uncond.t981.s1", "eps.au.uncond.t981.a1"
UNITS, BOTH = "eps.au.cond.t981.a1", "eps.auip.cond.t981.a1.i1"
FLAME, FLAME_WEAK = "eps.exp.mlp.cond.t981.s1", "eps.exp.mlp.cond.t981.s0.5"
NEUTRAL = "eps.exp.mlp.uncond.t981.s1"
WEAKER = "eps.auip.cond.t981.a0.5.i0.9"
MISTAKES = [
    Mistake("tokens left out", "faceid", FACE, 0.56, weights(identity=0.0)),
    Mistake("LoRA not applied", "faceid", FACE, 0.54, lora(0.0)),
    Mistake("LoRA scaled by the weight", "faceid", WEAK, 0.26, lora(0.6)),
    Mistake("weight ignored", "faceid", WEAK, 0.21, weights(identity=1.0)),
    Mistake("keys and values exchanged", "faceid", FACE, 0.61, keys_for_values),
    Mistake("nothing without prompt", "faceid", NOBODY, 0.54, sources(absent={})),
    Mistake("the face without prompt", "faceid", NOBODY, 0.67, in_both_halves),
    Mistake("Plus for v2", "faceid", "eps.plusv2.cond.t981.s1", 0.75, plus_instead_of_v2),
    Mistake("s_scale ignored", "faceid", "eps.plusv2.ss0.6.cond.t981.s1", 0.34, s_scale_ignored),
    Mistake("one face", "faceid", "eps.portrait.f3.cond.t981.s1", 0.19, first_face_only),
    Mistake("units left out", "fineface", UNITS, 0.41, weights(expression=0.0)),
    Mistake("AU12 and AU15 exchanged", "fineface", UNITS, 0.21, units(twelve_and_fifteen)),
    Mistake("units in 0..1", "fineface", UNITS, 0.33, units(lambda values: values / 5)),
    Mistake("numbers 5 and 7 exchanged", "fineface", UNITS, 0.095, exchanged_layers),
    Mistake("units without prompt", "fineface", AT_REST, 0.45, in_both_halves),
    Mistake("units left out", "fineface", BOTH, 0.39, weights(expression=0.0)),
    Mistake("face left out", "fineface", BOTH, 0.18, weights(identity=0.0)),
    Mistake("weights exchanged", "fineface", WEAKER, 0.15, weights(identity=0.5, expression=0.9)),
    Mistake("expression left out", "arc2face", FLAME, 0.37, weights(expression=0.0)),
    Mistake("weight ignored", "arc2face", FLAME_WEAK, 0.21, weights(expression=1.0)),
    Mistake("lids and jaw at rest", "arc2face", FLAME, 0.021, lids_and_jaw_at_rest),
    Mistake("keys and values exchanged", "arc2face", FLAME, 0.47, keys_for_values),
    Mistake("numbers 5 and 7 exchanged", "arc2face", FLAME, 0.16, exchanged_layers),
    Mistake("nothing without prompt", "arc2face", NEUTRAL, 0.33, sources(absent={})),
    Mistake("the expression without prompt", "arc2face", NEUTRAL, 0.51, in_both_halves),
    Mistake("bank left out", "arc2face", REFERENCE, 0.09, without_bank),
    Mistake("LoRA left out", "arc2face", REFERENCE, 0.22, referred(strength=0.0)),
    Mistake("LoRA at 1", "arc2face", REFERENCE, 0.079, referred(strength=1.0)),
    Mistake("bank without prompt", "arc2face", NOT_REFERRED, 0.089, referred(unprompted=0)),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda each: f"{each.name}: {each.says}")
def test_a_mistake_is_seen(mistake: Mistake) -> None:
    golden = read(mistake.name)
    inputs = mistake.make(inputs_of(mistake.folder, golden))
    found = predicted(mistake.folder, inputs, int(golden.numbers["t"]))
    change = distance(found[golden.half], goldens(mistake.folder)[mistake.name])
    assert change > 10 * TOLERANCE
    assert change == pytest.approx(mistake.change, rel=0.07)
