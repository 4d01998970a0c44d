"""Keeping what follows from running, without an error.

Host object used: ``ExecutionBlocker`` (0.3).
"""

from __future__ import annotations

from typing import Any


def blocked() -> Any:
    """A value for an output: nodes that are connected to it do not run."""
    from comfy_execution.graph_utils import ExecutionBlocker

    return ExecutionBlocker(None)
