"""Values that a script sends through the API: none outside its input's range is used, or changed in
silence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from comfy_server import ComfyServer, Graph, ServerError
from in_host import Tiny

Case = tuple[str, str, Any]
"""Node, input, value."""
Make = Callable[[dict[str, Any]], Any]
PREFIXES = "DenseFace_", "SFSR_"
NUMBERS: dict[str, Make] = {
    "above": lambda options: options["max"] + 1,
    "below": lambda options: options["min"] - 1,
    "infinite": lambda options: math.inf,
    "a word": lambda options: "much",
    "nothing": lambda options: None,
    "an object": lambda options: {"much": 1},
}
CHOICES: dict[str, Make] = {
    "none of them": lambda options: "none of these",
    "empty": lambda options: "",
    "a number": lambda options: 999,
    "an object": lambda options: {"much": 1},
}


def inputs(
    described: dict[str, Any], of: str = ""
) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Node, input, type and options of each input of the pack, or of one node."""
    for node, schema in described.items():
        if not node.startswith(PREFIXES) or of not in ("", node):
            continue
        for group in ("required", "optional"):
            for name, spec in schema["input"].get(group, {}).items():
                kind = "COMBO" if isinstance(spec[0], list) else spec[0]
                yield node, name, kind, spec[1] if len(spec) > 1 else {}


def not_refused(server: ComfyServer, cases: list[Case]) -> list[tuple[str, str, str]]:
    """Those that the server does not refuse in one sentence, by the name of the input."""
    graph: Graph = {}
    described = server.get("/object_info")
    for number, (node, name, value) in enumerate(cases):
        values = {other: options.get("default") for _, other, _, options in inputs(described, node)}
        given = {other: default for other, default in values.items() if default is not None}
        graph[f"{number}"] = {"class_type": node, "inputs": given | {name: value}}
        shown = {"source": [f"{number}", 0]}
        graph[f"show {number}"] = {"class_type": "PreviewAny", "inputs": shown}
    with pytest.raises(ServerError) as caught:
        server.queue(graph)
    answer = json.loads(str(caught.value).partition("prompt: ")[2])
    found: list[tuple[str, str, str]] = []
    for number, (node, name, value) in enumerate(cases):
        errors = answer["node_errors"].get(f"{number}", {"errors": []})["errors"]
        named = [e for e in errors if e["extra_info"].get("input_name") == name]
        said = " ".join(f"{e['message']}: {e['details']}" for e in named)
        if not said or "\n" in said or all(e["type"] == "exception" for e in named):
            found.append((node, f"{name} = {value!r}", said))
    return found


@pytest.mark.parametrize("kind", list(NUMBERS))
def test_numbers_outside_their_range(server: ComfyServer, kind: str) -> None:
    cases = [
        (node, name, NUMBERS[kind](options))
        for node, name, type_, options in inputs(server.get("/object_info"))
        if type_ in ("INT", "FLOAT")
    ]
    assert len(cases) > 100
    assert not_refused(server, cases) == []


@pytest.mark.parametrize("kind", list(CHOICES))
def test_choices_that_are_none(server: ComfyServer, kind: str) -> None:
    cases = [
        (node, name, CHOICES[kind](options))
        for node, name, type_, options in inputs(server.get("/object_info"))
        if type_ == "COMBO"
    ]
    assert len(cases) > 30
    assert not_refused(server, cases) == []


def test_choices_that_are_nothing(tiny: Tiny) -> None:
    """The host lets null pass; the nodes do not."""
    asked = 0
    for node, name, values in _executions(tiny, "COMBO"):
        with pytest.raises(ValueError, match=r"is None \(.+\)\. Choose one of"):
            node.execute(**{**values, name: None})
        asked += 1
    assert asked > 30


@pytest.mark.parametrize("kind", ["INT", "FLOAT"])
def test_nan(tiny: Tiny, kind: str) -> None:
    """The host lets it pass: it is neither below nor above a limit."""
    asked = 0
    for node, name, values in _executions(tiny, kind):
        with pytest.raises(ValueError, match=r"is nan \(.+\)\. Give a (whole )?number from"):
            node.execute(**{**values, name: math.nan})
        asked += 1
    assert asked > 20


def _executions(tiny: Tiny, kind: str) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    """Node, each of its inputs of a type, the defaults of the others; nothing is connected."""
    for node in tiny.module("nodes").NODES:
        schema = node.define_schema()
        values = {each.id: getattr(each, "default", None) for each in schema.inputs}
        for each in schema.inputs:
            if each.io_type == "COMBO" and values[each.id] is None:
                values[each.id] = next(iter(each.options), "one.safetensors")
        for each in schema.inputs:
            if each.io_type == kind and not each.optional:
                yield node, each.id, values
