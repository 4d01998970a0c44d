"""Metric: how much the person in an image resembles a reference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from comfy_api.latest import io, ui
from torch import Tensor

from ...errors import InputError
from ..inputs import output
from ..sockets import AnalyzerSocket, LoadedAnalyzer
from .chosen_face import chosen, detections_of
from .metrics import CATEGORY, MEASURED_TIP, account, mean, text_output, with_face

if TYPE_CHECKING:
    from ...faces.detection import Detection
    from ...faces.identity import Identity

LIKENESS = "Measure Likeness"


class MeasureLikeness(io.ComfyNode):
    """Images and portraits of a person -> cosine similarity of their identities."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_MeasureLikeness",
            display_name=LIKENESS,
            category=CATEGORY,
            description="Measures how much the person in an image resembles the person in the "
            "reference: the cosine similarity of two identity vectors.",
            search_aliases=[
                "face similarity",
                "identity score",
                "cosine",
                "face distance",
                "compare faces",
                "same person",
                "likeness score",
            ],
            is_output_node=True,
            inputs=[
                AnalyzerSocket.Input(
                    "analyzer", tooltip="Detects the faces and encodes their identities."
                ),
                io.Image.Input("image", tooltip=MEASURED_TIP),
                io.Image.Input(
                    "reference",
                    tooltip="Portraits of the person; their identities are averaged. Use portraits "
                    "that did not condition the image.",
                ),
                AnalyzerSocket.Input(
                    "independent",
                    optional=True,
                    tooltip="A second recogniser that did not condition the image: the one that "
                    "did overrates the likeness.",
                ),
            ],
            outputs=[
                output(io.Float, "likeness", "By the analyzer, -1 to 1, mean over the images."),
                text_output(),
                output(
                    io.Float,
                    "independent_likeness",
                    "By the independent recogniser; nan without one.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        analyzer: LoadedAnalyzer,
        image: Tensor,
        reference: Tensor,
        independent: LoadedAnalyzer | None = None,
    ) -> io.NodeOutput:
        from ...faces.encoders.names import same_encoder

        if independent is not None and same_encoder(independent.encoder, analyzer.encoder):
            raise InputError(
                f"both recognisers are {analyzer.encoder!r}",
                where=LIKENESS,
                fix="Connect another one, or none",
            )
        value, text = _likeness(analyzer, image, reference)
        other = math.nan
        if independent is not None:
            other, more = _likeness(independent, image, reference)
            text = f"{text}; independently {more}"
        return io.NodeOutput(value, text, other, ui=ui.PreviewText(text))


def _likeness(analyzer: LoadedAnalyzer, image: Tensor, reference: Tensor) -> tuple[float, str]:
    """Mean cosine similarity, and the text with the name of the recogniser."""
    from ...faces.identity import average
    from ...faces.metrics import likeness

    person = average(_people(analyzer, reference, detections_of(analyzer, reference, 0, LIKENESS)))
    detections = detections_of(analyzer, image, 0, LIKENESS)
    values = [likeness(who, person) for who in _people(analyzer, image, detections)]
    span = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    text = f"likeness {mean(values):.2f}{span} by {person.encoder}{account(detections)}"
    return mean(values), text


def _people(analyzer: LoadedAnalyzer, image: Tensor, detections: list[Detection]) -> list[Identity]:
    """The identity in each image that shows a face."""
    from ...faces.analyzers import to_rgb

    images = image.movedim(-1, 1)
    return [
        analyzer.identity(to_rgb(images[i]), chosen(detections[i]))
        for i in with_face(detections, LIKENESS)
    ]
