"""All files that a queued graph lacks, named before anything runs.

The host validates every node of a graph before a run and shows what each answers. Loaders answer
here with the sentence that they would raise when they run; the first of them also describes the
published files that ComfyUI's own loaders lack, of which the host gives the bare names.

Host objects used: ``add_on_prompt_handler`` of the server, ``get_executing_context`` (0.15).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
from comfy_execution.utils import get_executing_context

from ...errors import ModelFileError
from ...published_files import download_of


@dataclass
class _Queued:
    """The graph of the request in progress; ``described``: its core nodes' files are described."""

    graph: Mapping[str, Any]
    described: bool = False


_QUEUED: ContextVar[_Queued | None] = ContextVar("queued graph", default=None)


def remember_queued_graphs() -> None:
    """Let validation know the whole graph: a node's ``validate_inputs`` gets only its own part."""
    import server

    running = getattr(server.PromptServer, "instance", None)  # None without a server
    if running is not None and _remember not in running.on_prompt_handlers:
        running.add_on_prompt_handler(_remember)


def found(find: Callable[..., Any], *names: Any) -> bool | str:
    """For ``validate_inputs``: True, or what is missing and where to get it.

    Args:
        find: Returns the files of a loader; raises ModelFileError.
        names: Its arguments. What comes through a link is None here and is not validated.
    """
    if any(name is None for name in names):
        return True
    for name in names:
        if isinstance(name, int | float | Mapping):  # from a script
            return f"{name!r} is not the name of a file."
    try:
        find(*names)
    except ModelFileError as error:
        return " ".join([str(error), *_of_core_nodes()])
    return True


def queued_inputs() -> dict[str, Any]:
    """What is typed into the node that is being validated; empty where the graph is not known.

    Naming an input in ``validate_inputs`` would repeat the answer for it.
    """
    queued, context = _QUEUED.get(), get_executing_context()
    if queued is None or context is None:
        return {}
    inputs = queued.graph.get(context.node_id, {}).get("inputs", {})
    return {name: None if isinstance(value, list) else value for name, value in inputs.items()}


def _remember(request: dict[str, Any]) -> dict[str, Any]:
    graph = request.get("prompt")
    _QUEUED.set(_Queued(graph) if isinstance(graph, Mapping) else None)
    return request


def _of_core_nodes() -> list[str]:
    """One sentence on the published files that the host's own loaders lack, at the first call."""
    queued = _QUEUED.get()
    if queued is None or queued.described:
        return []
    queued.described = True
    lacking: dict[str, str] = {}
    for node in queued.graph.values():
        for value in node.get("inputs", {}).values():
            published = download_of(Path(value).name) if isinstance(value, str) else None
            if published is None or node.get("class_type") not in published.nodes:
                continue
            folder = published.folder.split("/")[0]
            if folder_paths.get_full_path(folder, value) is None:
                lacking[value] = f"{published.where_to_get} for models/{published.folder}"
    return [f"Other nodes of this graph lack {', '.join(lacking.values())}."] if lacking else []
