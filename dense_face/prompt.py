"""The placeholder ``*`` in a prompt, which has to be a separate word.

Source: docs/reference/dense_face.md A5.

CLIP's tokenizer joins adjacent punctuation: ``*.`` and ``**`` are other tokens than ``*``, and the
identity would be lost silently. Unambiguous cases get spaces here; ambiguous ones are refused.
"""

from __future__ import annotations

import re

from ..errors import InputError

PLACEHOLDER = "*"

_GLUED = re.compile(r"[^\W_]\*|\*[^\W_]|\*\*")
_PERSON = re.compile(
    r"\b(?:(?:an?|the)\s+)?(?:person|man|woman|boy|girl|lady|gentleman|guy|child)\b", re.IGNORECASE
)
_FIX = "Write * for the person, apart from other words: a portrait of * smiling"


def spaced_prompt(text: str) -> str:
    """The prompt with a space on each side of every ``*``; weights such as ``(*:1.2)`` still work.

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


def with_placeholder(caption: str) -> str:
    """A caption whose first word for a person is ``*``; without one, "a photo of *" comes first."""
    plain = caption.replace(PLACEHOLDER, " ")
    text, found = _PERSON.subn(f" {PLACEHOLDER} ", plain, count=1)
    return spaced_prompt(text if found else f"a photo of {PLACEHOLDER} , {plain}".rstrip(" ,"))
