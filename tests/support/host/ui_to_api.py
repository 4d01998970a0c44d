"""A saved workflow (the frontend's format) as the graph that the server's API takes.

The frontend does this when the user presses Run; here it is done without a browser, from the
server's own description of the nodes. ``tests/browser`` checks that both come out alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from comfy_server import Graph

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
SEEDS = {"seed", "noise_seed"}
"""A number of this name gets the seed's widget even where the node does not declare it."""
NOTES = {"Note", "MarkdownNote"}
INPUTS = -10
"""Number of the node in a subgraph at which its inputs arrive."""


def nodes_of(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    """All nodes of a saved workflow but subgraphs, of which the nodes inside are taken."""
    within = _definitions(workflow)
    nodes = [*workflow["nodes"], *(node for each in within.values() for node in each["nodes"])]
    return [node for node in nodes if node["type"] not in within]


def to_api(workflow: dict[str, Any], object_info: dict[str, Any]) -> Graph:
    """Convert a workflow whose nodes are all known and active.

    A node in a subgraph gets the subgraph's own number before its own: "12:5".

    Raises:
        ValueError: A node is unknown, muted or bypassed, or has another number of widget values
            than the server describes.
    """
    graph: Graph = {}
    _add(graph, _Level(workflow["nodes"], _sources(workflow)), _definitions(workflow), object_info)
    return graph


@dataclass
class _Level:
    """The workflow itself, or a subgraph where it is used."""

    nodes: list[dict[str, Any]]
    sources: dict[int, tuple[int, int]]
    """Link -> number and slot of the node that it comes from."""
    prefix: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)
    around: _Level | None = None
    node: dict[str, Any] = field(default_factory=dict)
    """The node that stands for this subgraph in the level around it."""
    inside: dict[int, _Level] = field(default_factory=dict)

    def source(self, link: int) -> list[Any]:
        """The node that a link comes from, in whichever level that is, and its slot."""
        number, slot = self.sources[link]
        if number == INPUTS and self.around is not None:
            return self.around.source(self.node["inputs"][slot]["link"])
        if number in self.inside:
            (inner,) = self.inside[number].outputs[slot]["linkIds"]
            return self.inside[number].source(inner)
        return [f"{self.prefix}{number}", slot]


def _add(
    graph: Graph, level: _Level, within: dict[str, dict[str, Any]], object_info: dict[str, Any]
) -> None:
    for node in level.nodes:
        if node["type"] in within:
            kind, number = within[node["type"]], node["id"]
            prefix = f"{level.prefix}{number}:"
            level.inside[number] = _Level(
                kind["nodes"], _sources(kind), prefix, kind["outputs"], level, node
            )
    for node in level.nodes:
        if node.get("mode", 0) != 0:
            raise ValueError(f"node {node['id']} is muted or bypassed")
        if node["type"] in NOTES or node["id"] in level.inside:
            continue
        if node["type"] not in object_info:
            raise ValueError(f"unknown node {node['type']}")
        inputs = _widget_inputs(node, object_info[node["type"]])
        for slot in node.get("inputs", []):
            if slot.get("link") is not None:
                inputs[slot["name"]] = level.source(slot["link"])
        graph[f"{level.prefix}{node['id']}"] = {"class_type": node["type"], "inputs": inputs}
    for inner in level.inside.values():
        _add(graph, inner, within, object_info)


def _definitions(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in workflow.get("definitions", {}).get("subgraphs", [])}


def _sources(graph: dict[str, Any]) -> dict[int, tuple[int, int]]:
    """Links are lists in a workflow and objects in a subgraph."""
    links = [list(each.values()) if isinstance(each, dict) else each for each in graph["links"]]
    return {link[0]: (link[1], link[2]) for link in links}


def _widget_inputs(node: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """Widget values stand in a list without names, in the order of the described inputs."""
    values = list(node.get("widgets_values") or [])
    inputs: dict[str, Any] = {}
    for group in ("required", "optional"):
        for name in described.get("input_order", {}).get(group, []):
            kind, options = _kind_and_options(described["input"][group][name])
            if not _is_widget(kind, options):
                continue
            if not values:
                raise ValueError(f"{node['type']} has no saved value for {name}")
            inputs[name] = values.pop(0)
            # The frontend adds a widget of its own beside a seed and beside an upload.
            if options.get("control_after_generate", name in SEEDS) or options.get("image_upload"):
                del values[:1]
    if values:
        raise ValueError(f"{node['type']} has {len(values)} saved values too many")
    return inputs


def _kind_and_options(described: list[Any]) -> tuple[Any, dict[str, Any]]:
    return described[0], described[1] if len(described) > 1 else {}


def _is_widget(kind: Any, options: dict[str, Any]) -> bool:
    is_list = isinstance(kind, list)  # how older nodes describe a choice
    return (is_list or kind in WIDGETS) and not options.get("forceInput")
