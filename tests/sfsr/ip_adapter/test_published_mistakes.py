"""Deliberate mistakes: each changes a golden by what the reference's authors measured for it.

The sizes are those of the table in docs/reference/parity.md 12, to two digits. A mistake
that stayed below the goldens' tolerances would mean that the goldens cannot catch it.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from comfyui_dense_face.sfsr.ip_adapter.identity_adapter import IdentityAdapter
from comfyui_dense_face.sfsr.ip_adapter.lora import AdapterLora
from comfyui_dense_face.sfsr.ip_adapter.places import cross_attention_number
from comfyui_dense_face.sfsr.ip_adapter.reading import read_adapter_files
from comfyui_dense_face.sfsr.token_attention import source_attention
from published_bench import (
    PUBLISHED,
    Combine,
    Layer,
    Run,
    block,
    distance,
    eps,
    face_run,
    fineface,
    goldens,
    identity,
    keys_values,
    target,
    tokens,
    unit_vectors,
)
from torch import Tensor, nn

EXACT, THROUGH_UNET = 1e-5, 1e-4


@dataclass(frozen=True)
class Mistake:
    """golden: what it is compared with; change: measured by the reference, relative."""

    says: str
    golden: str
    change: float
    make: Callable[[], Tensor]
    folder: str = "faceid"


def _eps(says: str, kind: str, change: float, make: Callable[[Run], Run], **more: Any) -> Mistake:
    """A mistake in a run of the reference's way; compared at t981."""
    half, weight = more.get("half", "cond"), more.get("weight", 1.0)

    def wrong() -> Tensor:
        run = _au_run(kind, half, more) if kind.startswith("au") else face_run(kind, half, weight)
        return eps("fineface" if kind.startswith("au") else "faceid", half, 981, make(run))

    scale = f"a{more.get('a', 1):g}" + (f".i{more.get('i', 1):g}" if kind == "auip" else "")
    scale = scale if kind.startswith("au") else f"s{weight:g}"
    folder = "fineface" if kind.startswith("au") else "faceid"
    return Mistake(says, f"eps.{kind}.{half}.t981.{scale}", change, wrong, folder)


def _au_run(kind: str, half: str, scales: dict[str, Any]) -> Run:
    run = Run() if kind == "au" else face_run("portrait_v11", half, scales.get("i", 1.0))
    return replace(run, vectors=unit_vectors(half), unit_weight=scales.get("a", 1.0))


# ---- in the attention -------------------------------------------------------------------------


def _added(layer: Layer, run: Run, query: Tensor | None = None) -> Tensor:
    queries = layer.query if query is None else query
    kv = run.keys_values[block(layer.number)]
    return source_attention(queries, kv, layer.heads, run.weight)


def _plain_query(layer: Layer, plain: Layer, run: Run) -> Tensor:
    return layer.out(layer.text + _added(layer, run, plain.query))


def _plain_out(layer: Layer, plain: Layer, run: Run) -> Tensor:
    return layer.out(layer.text) + F.linear(_added(layer, run), plain.out_weight)


def _after_out(layer: Layer, plain: Layer, run: Run) -> Tensor:
    return layer.out(layer.text) + _added(layer, run)


def _bias_twice(layer: Layer, plain: Layer, run: Run) -> Tensor:
    return layer.out(layer.text) + layer.out(_added(layer, run))


def _one_softmax(layer: Layer, plain: Layer, run: Run) -> Tensor:
    ours = run.keys_values[block(layer.number)]
    k, v = (torch.cat(pair, 1) for pair in zip(layer.keys_values, ours, strict=True))
    return layer.out(source_attention(layer.query, (k, v), layer.heads))


def _constant(layer: Layer, run: Run) -> Tensor:
    return run.unit_weight * run.vectors[block(layer.number)][:, None]


def _units_after_out(layer: Layer, plain: Layer, run: Run) -> Tensor:
    return layer.out(layer.text) + _constant(layer, run)


def _units_bias_twice(layer: Layer, plain: Layer, run: Run) -> Tensor:
    return layer.out(layer.text) + layer.out(_constant(layer, run))


def _units_one_softmax(layer: Layer, plain: Layer, run: Run) -> Tensor:
    key, value = _unit_matrices(layer.number)
    token = _unit_token()
    ours = token @ key.T, token @ value.T
    k, v = (torch.cat(pair, 1) for pair in zip(layer.keys_values, ours, strict=True))
    return layer.out(source_attention(layer.query, (k, v), layer.heads))


def _units_among_tokens(run: Run) -> Run:
    """The token of the units as one more of the face's, through the face's own keys and values."""
    face = tokens("portrait_v11", "cond")[:1]
    both = keys_values("portrait_v11", torch.cat([face, _unit_token()], 1))
    return replace(run, keys_values=both, vectors={})


def _with(combine: Combine) -> Callable[[Run], Run]:
    return lambda run: replace(run, combine=combine)


# ---- in what the attention is given -----------------------------------------------------------


def _changed(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Callable[[Run], Run]:
    def make(run: Run) -> Run:
        return replace(
            run, keys_values={place: change(*kv) for place, kv in run.keys_values.items()}
        )

    return make


def _given(kind: str, make: Callable[[], Tensor]) -> Callable[[Run], Run]:
    """Other tokens."""
    return lambda run: replace(run, keys_values=keys_values(kind, make()))


def _crossed(run: Run) -> Run:
    """Numbers 5 and 7 exchanged, their LoRA with them."""
    one, two = block(5), block(7)
    kv = dict(run.keys_values)
    kv[one], kv[two] = kv[two], kv[one]
    return replace(run, keys_values=kv)


def _crossed_lora(run: Run) -> Run:
    one, two = block(5), block(7)

    def other(place: str) -> str:
        if place.split(".1.trans")[0] not in (one, two) or "attn2" not in place:
            return place
        return place.replace(one, two) if place.startswith(one) else place.replace(two, one)

    pairs = {other(place): pair for place, pair in run.lora.pairs.items()}
    return replace(_crossed(run), lora=AdapterLora(pairs))


def _shifted(run: Run) -> Run:
    """The files' numbers of the way up read one cross-attention too early."""
    up = [n for n in range(13, 30, 2)]
    kv = dict(run.keys_values)
    for n in up:
        kv[block(n)] = run.keys_values[block(max(n - 2, 11))]
    return replace(run, keys_values=kv)


def _only_cross(run: Run) -> Run:
    pairs = {place: pair for place, pair in run.lora.pairs.items() if ".attn2." in place}
    return replace(run, lora=AdapterLora(pairs))


FACEID = [
    _eps("adapter ignored", "faceid", 0.63, lambda run: Run()),
    _eps("tokens left out", "faceid", 0.56, lambda run: replace(run, keys_values={})),
    _eps("LoRA not applied", "faceid", 0.54, lambda run: replace(run, strength=0.0)),
    _eps("LoRA only in cross-attentions", "faceid", 0.55, _only_cross),
    _eps("LoRA divided by rank", "faceid", 0.51, lambda r: replace(r, strength=1 / r.lora.rank)),
    _eps("query without LoRA", "faceid", 0.25, _with(_plain_query)),
    _eps("output LoRA not on the tokens' part", "faceid", 0.24, _with(_plain_out)),
    _eps("added after to_out", "faceid", 0.79, _with(_after_out)),
    _eps("bias twice", "faceid", 0.075, _with(_bias_twice)),
    _eps("one softmax", "faceid", 0.54, _with(_one_softmax)),
    _eps("keys and values exchanged", "faceid", 0.61, _changed(lambda k, v: (v, k))),
    _eps(
        "LoRA scaled by the adapter's weight",
        "faceid",
        0.26,
        lambda run: replace(run, strength=0.6),
        weight=0.6,
    ),
    _eps(
        "weight on keys and values",
        "faceid",
        0.12,
        lambda run: replace(_changed(lambda k, v: (0.6 * k, 0.6 * v))(run), weight=1.0),
        weight=0.6,
    ),
    _eps("weight ignored", "faceid", 0.21, lambda r: replace(r, weight=1.0), weight=0.6),
    _eps("numbers 5 and 7 exchanged", "faceid", 0.27, _crossed_lora),
    _eps("numbers of the way up shifted", "faceid", 0.49, _shifted),
    _eps(
        "uncond: zero tokens",
        "faceid",
        0.54,
        _given("faceid", lambda: torch.zeros(1, 4, 128)),
        half="uncond",
    ),
    _eps("uncond: none", "faceid", 0.54, lambda r: replace(r, keys_values={}), half="uncond"),
    _eps(
        "uncond: the face",
        "faceid",
        0.67,
        _given("faceid", lambda: tokens("faceid", "cond")[:1]),
        half="uncond",
    ),
    _eps(
        "tanh-GELU",
        "faceid",
        0.00014,
        _given("faceid", lambda: _tokens("faceid", _gelu(nn.GELU(approximate="tanh")))[:1]),
    ),
    _eps("plus: tokens left out", "plus", 0.48, lambda run: replace(run, keys_values={})),
    _eps(
        "v2 without shortcut",
        "plusv2",
        0.75,
        _given("plus", lambda: tokens("plus", "cond")[:1]),
    ),
    _eps("portrait: tokens left out", "portrait.f3", 0.2, lambda r: replace(r, keys_values={})),
    _eps(
        "portrait: only the first face",
        "portrait.f3",
        0.19,
        _given("portrait", lambda: tokens("portrait.f1", "cond")[:1]),
    ),
    _eps(
        "portrait: vectors averaged",
        "portrait.f3",
        0.24,
        _given(
            "portrait",
            lambda: identity("portrait").embedding(goldens("faceid")["in.id.portrait"][:1].mean(1)),
        ),
    ),
    _eps(
        "portrait: tokens averaged",
        "portrait.f3",
        0.12,
        _given(
            "portrait",
            lambda: tokens("portrait.f3", "cond")[:1].unflatten(1, (3, 16)).mean(1),
        ),
    ),
    _eps(
        "portrait: uncond zero tokens",
        "portrait.f3",
        0.27,
        _given("portrait", lambda: torch.zeros(1, 16, 128)),
        half="uncond",
    ),
]


# ---- in the tokens ----------------------------------------------------------------------------


def _altered(kind: str, change: Callable[[IdentityAdapter], None]) -> IdentityAdapter:
    adapter = deepcopy(identity(kind))
    change(adapter)
    return adapter


def _tokens(kind: str, change: Callable[[Any], None], times: float = 1.0) -> Tensor:
    adapter = _altered(kind, lambda found: change(found.embedding))
    given = goldens("faceid")
    vectors = given[f"in.id.{'faceid' if kind == 'faceid' else 'plus'}"][:, None]
    clip = None if kind == "faceid" else given["in.clip_hidden"][:, None]
    return adapter.tokens(times * vectors, clip)


def _set(name: str, value: Any) -> Callable[[Any], None]:
    return lambda module: setattr(module, name, value)


def _gelu(module: nn.Module) -> Callable[[Any], None]:
    return lambda embedding: embedding.proj.__setitem__(1, module)


class _StatesAlone(nn.Module):
    """An attention of the perceiver that does not see the tokens themselves."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.own = own

    def forward(self, states: Tensor, queries: Tensor) -> Tensor:
        own = self.own
        kv = own.to_kv(own.norm1(states)).chunk(2, 2)
        return own.to_out(source_attention(own.to_q(own.norm2(queries)), kv, own.heads))


def _each_attention(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def alter(embedding: Any) -> None:
        for layer in embedding.perceiver_resampler.layers:
            layer[0] = change(layer[0])

    return alter


def _one_head(own: Any) -> Any:
    own.heads = 1
    return own


def _plus_of(vectors: Tensor, clip: Tensor) -> Tensor:
    return identity("plus").tokens(vectors[:, None], clip[:, None])


def _id_part_scaled() -> Tensor:
    base = tokens("plus", "cond")
    shortcut = tokens("plusv2", "cond") - base
    return 0.6 * shortcut + base


def _token(says: str, golden: str, change: float, make: Callable[[], Tensor]) -> Mistake:
    return Mistake(says, golden, change, make)


GIVEN = goldens("faceid")
NOBODY = torch.zeros_like(GIVEN["in.id.plus"])
TOKENS = [
    _token(
        "no LayerNorm",
        "tok.faceid.cond",
        0.42,
        lambda: _tokens("faceid", _set("norm", cast("Any", _NoNorm()))),
    ),
    _token("no GELU", "tok.faceid.cond", 0.62, lambda: _tokens("faceid", _gelu(nn.Identity()))),
    _token(
        "tanh-GELU",
        "tok.faceid.cond",
        0.00014,
        lambda: _tokens("faceid", _gelu(nn.GELU(approximate="tanh"))),
    ),
    _token(
        "vector not normed", "tok.faceid.cond", 0.17, lambda: _tokens("faceid", lambda _: None, 22)
    ),
    _token("shortcut on for plus", "tok.plus.cond", 0.86, lambda: tokens("plusv2", "cond")),
    _token("shortcut off for v2", "tok.plusv2.ss1.cond", 0.61, lambda: tokens("plus", "cond")),
    _token("s_scale ignored", "tok.plusv2.ss0.6.cond", 0.38, lambda: tokens("plusv2", "cond")),
    _token("s_scale on the vector's part", "tok.plusv2.ss0.6.cond", 0.56, _id_part_scaled),
    _token(
        "perceiver without the tokens themselves",
        "tok.plus.cond",
        0.28,
        lambda: _tokens("plus", _each_attention(_StatesAlone)),
    ),
    _token(
        "perceiver with one head",
        "tok.plus.cond",
        0.36,
        lambda: _tokens("plus", _each_attention(_one_head)),
    ),
    _token(
        "uncond: CLIP states of zeros",
        "tok.plus.uncond",
        0.93,
        lambda: _plus_of(NOBODY, torch.zeros_like(GIVEN["in.clip_hidden"])),
    ),
    _token(
        "uncond: the face's CLIP states",
        "tok.plus.uncond",
        0.61,
        lambda: _plus_of(NOBODY, GIVEN["in.clip_hidden"]),
    ),
    _token(
        "class token dropped",
        "tok.plus.cond",
        0.16,
        lambda: _plus_of(GIVEN["in.id.plus"], GIVEN["in.clip_hidden"][:, 1:]),
    ),
]


class _NoNorm(nn.Module):
    """Has a weight, as the embedding asks its norm for a dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x


# ---- FineFace ---------------------------------------------------------------------------------


def _unit_matrices(number: int) -> tuple[Tensor, Tensor]:
    start = f"{_theirs(number)}.processor.au_to_"
    return _unit_file()[f"{start}k.weight"].float(), _unit_file()[f"{start}v.weight"].float()


def _theirs(number: int) -> str:
    from published_bench import numbers

    return numbers()[number]["diffusers"]


def _unit_file() -> dict[str, Tensor]:
    return read_adapter_files([PUBLISHED / "fineface" / "sd15_attn_processors.ckpt"])


def _unit_token() -> Tensor:
    return fineface().encoder(goldens("fineface")["in.au"][3:4])


def _units(change: Callable[[Tensor], Tensor]) -> Callable[[Run], Run]:
    """Other intensities."""
    au = goldens("fineface")["in.au"][3:4]
    return lambda run: replace(run, vectors=fineface().vectors(change(au)))


def _unit_tokens(make: Callable[[], Tensor], side: int = 1) -> Callable[[Run], Run]:
    """Another token, or the keys in place of the values."""

    def given(run: Run) -> Run:
        layers = {b: cross_attention_number(b, target()) for b in target().layers}
        token = make()[:, 0]
        found = {b: token @ _unit_matrices(n)[side].T for b, n in layers.items()}
        return replace(run, vectors=found)

    return given


def _crossed_units(run: Run) -> Run:
    one, two = block(5), block(7)
    vectors = dict(run.vectors)
    vectors[one], vectors[two] = vectors[two], vectors[one]
    return replace(run, vectors=vectors)


def _no_bias() -> Tensor:
    token, width = _unit_token(), 12
    bias = fineface().encoder.au_encoder.bias
    return torch.cat([token[..., :width], token[..., width:] - bias], 2)


def _hidden_first() -> Tensor:
    token = _unit_token()
    return torch.cat([token[..., 12:], token[..., :12]], 2)


_AS_TEXT = [0, 6, 7, 8, 1, 9, 10, 11, 2, 3, 4, 5]
"""Units sorted as text: 1, 12, 15, 17, 2, 20, 25, 26, 4, 5, 6, 9."""
_SWAPPED = [0, 1, 2, 3, 4, 5, 7, 6, 8, 9, 10, 11]
_HALF = {"a": 0.5, "i": 0.9}

FINEFACE = [
    _eps("units left out", "au", 0.41, lambda run: replace(run, vectors={})),
    _eps("units left out beside a face", "auip", 0.39, lambda run: replace(run, vectors={})),
    _eps("face left out beside units", "auip", 0.18, lambda run: replace(run, keys_values={})),
    _eps("AU12 and AU15 exchanged", "au", 0.21, _units(lambda au: au[:, _SWAPPED])),
    _eps("units sorted as text", "au", 0.25, _units(lambda au: au[:, _AS_TEXT])),
    _eps("units divided by 5", "au", 0.33, _units(lambda au: au / 5)),
    _eps("token the other way round", "au", 0.41, _unit_tokens(_hidden_first)),
    _eps("bias left out", "au", 0.018, _unit_tokens(_no_bias)),
    _eps("uncond: nothing", "au", 0.021, lambda r: replace(r, vectors={}), half="uncond"),
    _eps("uncond: the face's units", "au", 0.45, _units(lambda au: au), half="uncond"),
    _eps("keys in place of values", "au", 0.55, _unit_tokens(_unit_token, 0)),
    _eps("added after to_out", "au", 0.44, _with(_units_after_out)),
    _eps("bias of to_out twice", "au", 0.07, _with(_units_bias_twice)),
    _eps("one softmax with the text", "au", 0.38, _with(_units_one_softmax)),
    _eps(
        "weights exchanged",
        "auip",
        0.15,
        lambda run: replace(run, weight=0.5, unit_weight=0.9),
        **_HALF,
    ),
    _eps(
        "the face's weight for both", "auip", 0.14, lambda r: replace(r, unit_weight=0.9), **_HALF
    ),
    _eps("units among the face's tokens", "auip", 0.51, _units_among_tokens),
    _eps("units of numbers 5 and 7 exchanged", "au", 0.095, _crossed_units),
]
NO_CHANGE = [
    _eps(
        "faces in another order",
        "portrait.f3",
        0.0,
        _given("portrait", lambda: tokens("portrait.f3", "cond")[:1].roll(16, 1)),
    ),
    _eps(
        "uncond with the tokens of three",
        "portrait.f3",
        0.0,
        _given("portrait", lambda: tokens("portrait.f3", "uncond").repeat(1, 3, 1)),
        half="uncond",
    ),
]
ALL = [*FACEID, *TOKENS, *FINEFACE]


@pytest.mark.parametrize("mistake", ALL, ids=lambda mistake: f"{mistake.golden}: {mistake.says}")
def test_a_mistake_is_seen(mistake: Mistake) -> None:
    with torch.no_grad():
        change = distance(mistake.make(), goldens(mistake.folder)[mistake.golden])
    tolerance = THROUGH_UNET if mistake.golden.startswith("eps") else EXACT
    assert change > tolerance
    assert change == pytest.approx(mistake.change, rel=0.07)


@pytest.mark.parametrize("case", NO_CHANGE, ids=lambda case: case.says)
def test_what_makes_no_difference(case: Mistake) -> None:
    with torch.no_grad():
        assert distance(case.make(), goldens(case.folder)[case.golden]) < 1e-5


def test_s_scale_ignored_is_seen_through_the_unet() -> None:
    golden = goldens("faceid")["eps.plusv2.ss0.6.cond.t981.s1"]
    assert distance(eps("faceid", "cond", 981, face_run("plusv2", "cond")), golden) == (
        pytest.approx(0.34, rel=0.07)
    )


def test_keys_of_a_single_token_make_no_difference() -> None:
    """Zeros as keys, as ``ExpressionAdapter.keys_values`` gives them, are as good as the file's."""
    made = fineface().keys_values(unit_vectors("cond"))
    found = eps("fineface", "cond", 981, Run(made))
    assert distance(found, goldens("fineface")["eps.au.cond.t981.a1"]) < THROUGH_UNET
