"""Everything that a fixture of Arc2Face holds, computed by this pack.

    te    the text encoder with an identity in the prompt, and with the empty prompt
    tok   tokens of FLAME expressions, in both forms of the file
    attn, eps    attention and network with them; with the reference adapter
    ref   the first self-attention's input in the reference's pass

Names: docs/reference/parity.md 10. Source: docs/reference/published_weights.md A4, A6, A7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ...sfsr.arc2face.reference_lora import reference_lora
from ...sfsr.ip_adapter.reading import read_adapter_file
from .published_fixture import PublishedFixture
from .published_outputs import Golden
from .published_unet import Run, predicted_noise, reference_bank, single_attention

TOLERANCES = {"te.": 1e-5, "tok.": 1e-5, "attn.": 1e-5, "ref.": 1e-5, "eps.": 1e-4}
"""How the names of the goldens begin, and their tolerances; cheap ones first."""
PERSON = "te.prompt."
EXPRESSION_ROW = 0
"""Of the expressions, for ``eps`` and ``attn``."""
_LORA = "pytorch_lora_weights.safetensors"


def outputs(
    fixture: PublishedFixture, prefixes: Iterable[str] = tuple(TOLERANCES)
) -> Iterator[tuple[str, Tensor]]:
    """Name and value of each golden of the parts (keys of ``TOLERANCES``) that is known here."""
    for prefix in prefixes:
        for name in fixture.goldens():
            found = _output(fixture, name) if name.startswith(prefix) else None
            if found is not None:
                yield name, found


def _output(fixture: PublishedFixture, name: str) -> Tensor | None:
    if name == "te.empty":
        return fixture.identity_context(None)
    if name.startswith(PERSON):
        return fixture.identity_context(int(name.removeprefix(PERSON)))
    if name == "ref.bank.first":
        return reference_bank(fixture)[0]
    golden = Golden.read(name)
    if golden is None:
        return None
    half, numbers = golden.half, golden.numbers
    if golden.part == "tok":
        return expression_tokens(fixture, _form(golden), half)
    run = run_of(fixture, golden)
    if golden.part == "attn":
        return single_attention(fixture, half, int(numbers["n"]), run)
    return predicted_noise(fixture, half, int(numbers["t"]), run)


def run_of(fixture: PublishedFixture, golden: Golden) -> Run:
    """What a golden of ``eps`` or ``attn`` was run with."""
    if golden.kind == "id":
        return Run()
    run = expression_run(fixture, _form(golden), golden.half, golden.numbers["s"])
    if golden.kind != "ref":
        return run
    tensors = read_adapter_file(fixture.folder / "ref_adapter" / _LORA)
    bank = reference_bank(fixture) if golden.half == "cond" else {}
    lora = reference_lora(tensors, fixture.target)
    return replace(run, lora=lora, strength=golden.numbers["l"], bank=bank)


@torch.no_grad()
def expression_tokens(fixture: PublishedFixture, form: str, half: str) -> Tensor:
    """Tokens [B, n, W] of all expressions of the fixture; in the half ``uncond`` [1, n, W]."""
    adapter = fixture.flame(form)
    return adapter.absent() if half == "uncond" else adapter.tokens(fixture.tensors["in.exp"])


@torch.no_grad()
def expression_run(fixture: PublishedFixture, form: str, half: str, weight: float) -> Run:
    """An expression adapter with the fixture's first expression."""
    row = slice(EXPRESSION_ROW, EXPRESSION_ROW + 1)
    tokens = expression_tokens(fixture, form, half)[row]
    return Run(fixture.flame(form).keys_values(tokens), weight)


def _form(golden: Golden) -> str:
    """The reference's runs had the file as published."""
    return golden.kind.rpartition(".")[2] if golden.kind.startswith("exp.") else "mlp"
