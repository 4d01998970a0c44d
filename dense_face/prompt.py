"""The placeholder ``*`` in a prompt: it has to be a word of its own.

Source: docs/reference/dense_face.md A5.

CLIP's tokenizer joins signs that touch: ``*.`` or ``**`` is another token than ``*``, and the
person is lost without a word. What can only mean the placeholder is set apart here; what cannot is
refused.
"""

from __future__ import annotations

import re

from ..errors import InputError

PLACEHOLDER = "*"

_GLUED = re.compile(r"[^\W_]\*|\*[^\W_]|\*\*")
_FIX = "Write * where the person stands, apart from other words: a portrait of * smiling"


def spaced_prompt(text: str) -> str:
    """The prompt with a space on each side of every ``*``; weights such as ``(*:1.2)`` stay whole.

    Raises:
        InputError: There is no ``*``, or one touches a letter, a digit or another ``*``.
    """
    if PLACEHOLDER not in text:
        raise InputError("the prompt has no * for the person", where=text.strip(), fix=_FIX)
    glued = _GLUED.search(text)
    if glued is not None:
        raise InputError(
            f"in the prompt the * touches another word ({glued.group()})",
            where=text.strip(),
            fix=_FIX,
        )
    return re.sub(r"\s*\*\s*", " * ", text).strip()
