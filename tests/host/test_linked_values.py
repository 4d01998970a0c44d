"""Property: whatever a widget or a link carries, a node does its work or says one sentence.

Nodes run in random order on values of all kinds, and what they return is offered to the next ones.
A MODEL, SAMPLER or GUIDER that comes out also has to sample, or to say why it does not.
"""

from __future__ import annotations

import random
from collections import Counter
from traceback import extract_tb
from typing import Any

import pytest
import torch
from in_host import Tiny
from linked_values import Pool, first_values
from sfsr_in_host import random_adapter

NEEDS_FILES = {"LoadEncoder", "AnalyzerFromPack", "ExpressionFromExemplars", "EncodeArc2Face"}
"""Nodes that cannot succeed here: their model files or other packs are not at hand."""


@pytest.fixture(scope="module")
def values(tiny: Tiny) -> Pool:
    with torch.inference_mode():
        head = tiny.run("LoadAnnotationHead", "tiny world (bundled)")
    return first_values(tiny, random_adapter(tiny), head)


def run_all(tiny: Tiny, values: Pool, rounds: int, seed: int) -> tuple[dict[str, str], set[str]]:
    """Run every node so many times.

    Returns:
        Each kind of raw error, with the inputs that caused it; names of nodes that succeeded.
    """
    from comfy_execution.graph_utils import ExecutionBlocker

    rng, nodes = random.Random(seed), tiny.module("nodes").NODES
    crashes: dict[str, str] = {}
    done: Counter[str] = Counter()
    for _ in range(rounds):
        for node in rng.sample(nodes, k=len(nodes)):
            schema = node.define_schema()
            inputs = values.inputs(schema, rng)
            if inputs is None:
                continue
            try:
                with torch.inference_mode():
                    output = node.execute(**inputs)
                    # Those of a node that becomes other nodes are links to them.
                    outputs = () if output.expand else output.result or ()
                    for item, value in zip(schema.outputs, outputs, strict=False):
                        if not isinstance(value, ExecutionBlocker):
                            sample(tiny, item.io_type, value, values, rng)
                            values.keep(item.io_type, value)
                done[node.__name__] += 1
            except Exception as error:
                if not type(error).__module__.endswith(".errors"):
                    places = extract_tb(error.__traceback__)
                    place = f"{places[-1].filename}:{places[-1].lineno}"
                    kind = f"{schema.node_id}: {type(error).__name__} at {place}: {error}"
                    given = {name: short(value) for name, value in inputs.items()}
                    crashes.setdefault(kind[:300], str(given))
    return crashes, set(done)


def short(value: Any) -> str:
    """A value in a few letters."""
    if isinstance(value, torch.Tensor):
        return f"{list(value.shape)} {value.dtype}"
    return repr(value)[:60]


def sample(tiny: Tiny, kind: str, value: Any, values: Pool, rng: random.Random) -> None:
    """Use what a node returned."""
    import comfy.sample

    if kind not in ("MODEL", "SAMPLER", "GUIDER"):
        return
    latent = rng.choice(values.good["LATENT"][:3])["samples"]
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
    sigmas = torch.tensor([14.6, 1.0, 0.0])
    seed = 2**64 - 1 if kind == "SAMPLER" else 0
    if kind == "GUIDER":
        sampler = rng.choice(values.good["SAMPLER"])
        value.sample(noise, latent, sampler, sigmas, disable_pbar=True, seed=seed)
        return
    model = value if kind == "MODEL" else tiny.model
    sampler = value if kind == "SAMPLER" else values.good["SAMPLER"][0]
    conds = tiny.prompt("a person"), tiny.prompt("")
    comfy.sample.sample_custom(
        model, noise, 3.0, sampler, sigmas, *conds, latent, disable_pbar=True, seed=seed
    )


@pytest.mark.parametrize(("rounds", "seed"), [(3, 0), pytest.param(20, 1, marks=pytest.mark.slow)])
def test_no_raw_error(tiny: Tiny, values: Pool, rounds: int, seed: int) -> None:
    crashes, done = run_all(tiny, values, rounds, seed)
    assert not crashes, "\n".join(f"{kind}\n    {inputs}" for kind, inputs in crashes.items())
    if rounds > 10:  # what a node needs first comes from others, by chance
        able = {node.__name__ for node in tiny.module("nodes").NODES} - NEEDS_FILES
        assert len(able & done) > 0.6 * len(able), sorted(able - done)
