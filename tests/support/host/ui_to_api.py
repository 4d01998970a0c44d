"""A saved workflow (the frontend's format) as the graph that the server's API takes.

The frontend does this when the user presses Run; here it is done without a browser, from the
server's own description of the nodes. ``tests/browser`` checks that both come out alike.
"""

from __future__ import annotations

from typing import Any

from comfy_server import Graph

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
SEEDS = {"seed", "noise_seed"}
"""A number of this name gets the seed's widget even where the node does not declare it."""
NOTES = {"Note", "MarkdownNote"}


def to_api(workflow: dict[str, Any], object_info: dict[str, Any]) -> Graph:
    """Convert a workflow whose nodes are all known and active.

    Raises:
        ValueError: A node is unknown, muted or bypassed, or has another number of widget values
            than the server describes.
    """
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    graph: Graph = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        if node["type"] not in object_info:
            raise ValueError(f"unknown node {node['type']}")
        if node.get("mode", 0) != 0:
            raise ValueError(f"node {node['id']} is muted or bypassed")
        inputs = _widget_inputs(node, object_info[node["type"]])
        for slot in node.get("inputs", []):
            if slot.get("link") is not None:
                inputs[slot["name"]] = sources[slot["link"]]
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return graph


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
