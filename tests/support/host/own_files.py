"""Which shipped workflows need the user's own files."""

from __future__ import annotations

import json
from pathlib import Path

READERS = {
    "CheckpointLoaderSimple",
    "DenseFace_LoadAnalyzer",
    "DenseFace_LoadEncoder",
    "LoadImage",
}


def needs_own_files(workflow: Path) -> bool:
    """Whether a saved workflow reads anything that does not come with the pack."""
    saved = json.loads(workflow.read_text(encoding="utf-8"))
    return any(
        node["type"] in READERS or node["properties"].get("models") for node in saved["nodes"]
    )
