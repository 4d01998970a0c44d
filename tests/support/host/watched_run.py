"""A run in the server during which is noted which nodes it executed, as a browser would see it."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from comfy_server import ComfyServer, Graph


def watched_run(
    server: ComfyServer, graph: Graph, timeout: float = 300
) -> tuple[dict[str, Any], set[str]]:
    """(history entry, ids of the nodes that ran or whose result of an earlier run was taken).

    Of equal nodes the host runs one and takes its result for all.
    """
    entry, ran = asyncio.run(asyncio.wait_for(_watched(server, graph), timeout))
    alike = {number for number, node in graph.items() if node in [graph[each] for each in ran]}
    return entry, ran | alike


async def _watched(server: ComfyServer, graph: Graph) -> tuple[dict[str, Any], set[str]]:
    import aiohttp  # one of the host's own libraries

    client = uuid.uuid4().hex
    ran: set[str] = set()
    # The server tells which node it executes only to the client that queued the graph.
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{server.url}/ws?clientId={client}", max_msg_size=0) as messages,
    ):
        number = server.queue(graph, client)
        async for message in messages:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            event = json.loads(message.data)
            if event["data"].get("prompt_id") != number:
                continue
            if event["type"] == "execution_cached":
                ran |= set(event["data"]["nodes"])
            elif event["type"] == "executing":
                if event["data"]["node"] is None:
                    break
                ran.add(event["data"]["node"])
    return server.wait(number), ran
