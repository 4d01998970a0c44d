"""Heads of the tiny world for the controls in ``web/js``: ``GET /dense_face/head`` and ``/words``.

The query of ``/dense_face/head`` holds what a node's widgets hold, all of it optional: ``yaw``,
``pitch`` and ``roll`` in degrees; ``word`` with ``intensity``, ``seed`` and ``variation``;
blendshapes by name. The answer is a PNG of 128 px, or 400 with one sentence. ``/dense_face/words``
lists the 135 words with everyday ones.

Host object used: ``server.PromptServer.instance.routes``.
"""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Mapping
from functools import lru_cache

from aiohttp import web

from ...errors import FacePackError, InputError

HEAD, WORDS = "/dense_face/head", "/dense_face/words"
SIZE = 128
_KEPT = 512
"""Images in memory, of some 20 KB each."""
_ANGLES = ("yaw", "pitch", "roll")
_OF_WORD = ("intensity", "variation")
_TEXTS = {"word", "seed"}
_LAST_SEED = 2**64 - 1
_LIMIT = 90.0
Numbers = tuple[tuple[str, float], ...]


def add_routes() -> None:
    """Add both to the host's server; nothing happens without a server, or if they are there."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", "") == HEAD for route in server.routes):
        return
    server.routes.get(HEAD)(_head)
    server.routes.get(WORDS)(_words)


def head_image(query: Mapping[str, str]) -> bytes:
    """The PNG for a query.

    Raises:
        InputError: An unknown name, word, or a value that is out of range.
    """
    given = {name: _number(name, text) for name, text in query.items() if name not in _TEXTS}
    angles = tuple(given.pop(name, 0.0) for name in _ANGLES)
    for name, angle in zip(_ANGLES, angles, strict=True):
        if abs(angle) > _LIMIT:
            raise InputError(f"{name} is {angle:g}", fix=f"Give degrees from -{_LIMIT} to {_LIMIT}")
    of_word = tuple((name, given.pop(name)) for name in _OF_WORD if name in given)
    seed = _seed(query.get("seed", "0"))
    return _drawn(angles, query.get("word", ""), seed, of_word, tuple(sorted(given.items())))


@lru_cache(_KEPT)
def _drawn(
    angles: tuple[float, ...], word: str, seed: int, of_word: Numbers, blendshapes: Numbers
) -> bytes:
    from PIL import Image

    from ...demo.expression_heads import FACE, expression_heads
    from ...demo.renderer.renderer import render
    from ...sfsr.algebra import add, clamp
    from ...sfsr.expression import from_values
    from ...sfsr.words import expression_of_word

    code = from_values(dict(blendshapes))
    if word:
        of_this = expression_of_word(word.rsplit("/", 1)[-1], seed=seed, **dict(of_word))
        code = clamp(add(of_this, code))
    yaw, pitch, roll = angles
    heads = expression_heads(code.face()[None], FACE, (yaw, pitch, roll))
    pixels = (render(heads, SIZE).rgb[0] * 255).round().byte().movedim(0, -1).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name} is {text!r}", fix="Give a number")
    return number


def _seed(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= len(str(_LAST_SEED)):
        seed = int(text)
        if seed <= _LAST_SEED:
            return seed
    raise InputError(f"seed is {text!r}", fix=f"Give a whole number from 0 to {_LAST_SEED}")


async def _head(request: web.Request) -> web.Response:
    loop = asyncio.get_running_loop()
    try:
        png = await loop.run_in_executor(None, head_image, dict(request.query))
    except FacePackError as error:
        return web.json_response({"error": str(error)}, status=400)
    kept = {"Cache-Control": "max-age=3600"}
    return web.Response(body=png, content_type="image/png", headers=kept)


async def _words(_: web.Request) -> web.Response:
    from ...sfsr.emotion_table import emotion_words, synonyms

    everyday: dict[str, list[str]] = {}
    for synonym, word in synonyms().items():
        everyday.setdefault(word, []).append(synonym)
    listed = [
        {"word": word, "primary": emotion.primary, "synonyms": everyday.get(word, [])}
        for word, emotion in emotion_words().items()
    ]
    return web.json_response(listed)
