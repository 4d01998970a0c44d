"""A run in the server with all that a browser is told of it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from comfy_server import ComfyServer, Graph

PREVIEW_WITH_METADATA = 4
"""Kind of a binary message: a latent preview, and of which node."""


@dataclass
class WatchedRun:
    """What the server told of a run.

    entry: Its entry in the history.
    ran: Ids of the nodes that ran or whose result of an earlier run was taken.
    progress: Of each node in the graph the (done, of) that its progress bar showed, in their order.
    previews: How many latent previews each node showed, by its id in the graph.
    last_preview: Of these the last one, an encoded image.
    """

    entry: dict[str, Any] = field(default_factory=dict)
    ran: set[str] = field(default_factory=set)
    progress: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    previews: Counter[str] = field(default_factory=Counter)
    last_preview: dict[str, bytes] = field(default_factory=dict)

    def take(self, event: str, data: dict[str, Any]) -> None:
        """Note a message in JSON."""
        if event == "execution_cached":
            self.ran |= set(data["nodes"])
        elif event == "executing" and data["node"] is not None:
            self.ran.add(data["node"])
        elif event == "progress_state":
            for state in data["nodes"].values():
                shown = self.progress.setdefault(state["display_node_id"], [])
                if (state["value"], state["max"]) not in shown[-1:]:
                    shown.append((state["value"], state["max"]))

    def take_binary(self, message: bytes) -> None:
        """Note a latent preview."""
        if int.from_bytes(message[:4], "big") != PREVIEW_WITH_METADATA:
            return
        length = int.from_bytes(message[4:8], "big")
        node = json.loads(message[8 : 8 + length])["display_node_id"]
        self.previews[node] += 1
        self.last_preview[node] = message[8 + length :]


def watched_run(
    server: ComfyServer,
    graph: Graph,
    timeout: float = 300,
    stop: tuple[str, int] | None = None,
    **extra: Any,
) -> WatchedRun:
    """Queue a graph and watch it until it has ended, well or not.

    stop: A node and a number of steps on its progress bar at which the user stops the run.
    extra: Settings of the run as the frontend sends them (``preview_method``).
    """
    run = asyncio.run(asyncio.wait_for(_watched(server, graph, stop, extra), timeout))
    # Of equal nodes the host runs one and takes its result for all.
    ran = [_resolved(graph, number) for number in run.ran if number in graph]
    run.ran |= {number for number in graph if _resolved(graph, number) in ran}
    return run


def _resolved(graph: Graph, number: str) -> dict[str, Any]:
    """A node whose links are the nodes that they come from: those of equal nodes are equal."""

    def source(value: Any) -> Any:
        if isinstance(value, list) and len(value) == 2 and str(value[0]) in graph:
            return [_resolved(graph, str(value[0])), value[1]]
        return value

    node = graph[number]
    inputs = {name: source(value) for name, value in node["inputs"].items()}
    return {"class_type": node["class_type"], "inputs": inputs}


async def _watched(
    server: ComfyServer, graph: Graph, stop: tuple[str, int] | None, extra: dict[str, Any]
) -> WatchedRun:
    import aiohttp  # one of the host's own libraries

    client, run = uuid.uuid4().hex, WatchedRun()
    # The server tells which node it executes only to the client that queued the graph.
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}/ws?clientId={client}", max_msg_size=0) as messages,
    ):
        features = {"supports_preview_metadata": True}
        await messages.send_json({"type": "feature_flags", "data": features})
        number = server.queue(graph, client, extra)
        async for message in messages:
            if message.type is aiohttp.WSMsgType.BINARY:
                run.take_binary(message.data)
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            event = json.loads(message.data)
            if event["data"].get("prompt_id") != number:
                continue
            run.take(event["type"], event["data"])
            if stop and max(run.progress.get(stop[0], [(0, 0)]))[0] >= stop[1]:
                server.interrupt()
                stop = None
            if event["type"] == "executing" and event["data"]["node"] is None:
                break
    run.entry = server.wait(number)
    return run
