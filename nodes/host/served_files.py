"""The pack's scripts, help pages and templates under every address the frontend asks for.

The host serves them by aiohttp's static routes. Two kinds of folder names need more:

- with a space or a letter beyond ASCII: a static route of that name matches nothing (aiohttp 3.14);
- with a dot or an @, as in ``dense-face-0.1.0`` of an unpacked release: the frontend takes what is
  before it for the name when it asks for a help page (``extractCustomNodeName``, 1.49 to 1.58).

Host object used: ``server.PromptServer.instance.routes``; the host adds each also below ``/api``.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from ...readers.files import inside

PACK = Path(__file__).parents[2]


def add_file_routes() -> None:
    """Serve what the host does not; nothing without a server."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None:
        return
    name = PACK.name
    before = re.split("[.@]", name)[0]
    if quote(name) != name:
        server.routes.get(_route("extensions", name))(partial(_file, PACK / "web"))
        server.routes.get(_route("workflow_templates", name))(partial(_file, PACK / "workflows"))
    if before not in ("", name) and not (PACK.parent / before).exists():  # another pack's own
        pages = PACK / "web" / "docs"
        server.routes.get(_route("extensions", before, "docs/"))(partial(_file, pages))


def _route(start: str, folder: str, below: str = "") -> str:
    """``/start/folder/below`` and a file; a pattern, since aiohttp finds no letters as they are."""
    decoded = folder.replace("%", "%25")  # aiohttp decodes the rest of an address
    either = "|".join(re.escape(name) for name in (decoded, quote(folder)))
    either = either.replace(r"\{", r"\x7b").replace(r"\}", r"\x7d")
    return f"/{start}/{{folder:{either}}}/{below}{{file:.+}}"


async def _file(folder: Path, request: web.Request) -> web.FileResponse:
    path = inside(folder, request.match_info["file"])
    if path is None or not path.is_file():
        raise web.HTTPNotFound
    return web.FileResponse(path)
