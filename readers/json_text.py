"""JSON of others: bounded, and every fault is a ValueError."""

from __future__ import annotations

import json
from typing import Any

from .. import limits


def parse_json(text: str | bytes, longest: int = limits.JSON_BYTES) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is no JSON, too long, or nested deeper than Python can follow.
    """
    if len(text) > longest:
        raise ValueError(f"a JSON text of {len(text)} letters")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("a JSON text that is nested too deep") from error
