"""Keeping what follows from running, without an error.

Host object used: ``ExecutionBlocker`` (0.3).
"""

from __future__ import annotations

from typing import Any


def blocked(why: str | None = None) -> Any:
    """A value for an output: nodes that are connected to it do not run.

    why: Shown at the first of those nodes; the run goes on and ends well all the same.
    """
    from comfy_execution.graph_utils import ExecutionBlocker

    return ExecutionBlocker(why)
