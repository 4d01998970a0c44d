"""Graphs whose results become the image of a node's help page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from comfy_server import ComfyServer, Graph
from image_rows import Row, sheet
from locate_host import ROOT
from PIL import Image

FOLDER = ROOT / "web" / "docs" / "images"
QUALITY = 80
Output = tuple[str, int]
"""A node and the number of its output."""


@dataclass
class Studio:
    """Builds a graph node by node, runs it in a server, and writes an image of the results."""

    server: ComfyServer
    described: dict[str, Any]
    graph: Graph = field(default_factory=dict)

    def node(self, kind: str, output: int = 0, **inputs: Any) -> Output:
        """One output of a node, added unless it is there, with its defaults for other inputs."""
        required = self.described[kind]["input"].get("required", {})
        values = {name: _default(spec) for name, spec in required.items() if name not in inputs}
        for name, value in inputs.items():
            values[name] = list(value) if isinstance(value, tuple) else value
        wanted = {"class_type": kind, "inputs": values}
        for number, node in self.graph.items():
            if node == wanted:
                return number, output
        number = str(len(self.graph) + 1)
        self.graph[number] = wanted
        return number, output

    def images(self, *outputs: Output) -> list[Image.Image]:
        """The images at these outputs; of a batch, all."""
        previews = [self.node("PreviewImage", images=output)[0] for output in outputs]
        found = self.server.run(self.graph)
        return [
            Image.open(io.BytesIO(self.server.view(image))).convert("RGB")
            for preview in previews
            for image in found[preview]["images"]
        ]

    def texts(self, *outputs: Output) -> list[str]:
        """What Preview as Text shows of these outputs."""
        previews = [self.node("PreviewAny", source=output)[0] for output in outputs]
        found = self.server.run(self.graph)
        return [found[preview]["text"][0] for preview in previews]

    def write(self, node_id: str, *rows: Row) -> None:
        """Write the image of a node's help page."""
        FOLDER.mkdir(exist_ok=True)
        sheet(rows).save(FOLDER / f"{node_id}.webp", quality=QUALITY, method=6)


def _default(spec: Sequence[Any]) -> Any:
    """The default of an input as the server describes it; None of one that takes a link."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    choices = kind if isinstance(kind, list) else options.get("options", [])
    return options.get("default", choices[0] if choices else None)
