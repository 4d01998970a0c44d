"""Metric: how much the person in an image resembles a reference."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from comfy_api.latest import io
from torch import Tensor

from ...errors import InputError
from ..inputs import output
from ..sockets import AnalyzerSocket, LoadedAnalyzer
from .chosen_face import chosen, detections_of
from .metrics import (
    CATEGORY,
    MEASURED_TIP,
    Bar,
    account,
    image_number,
    mean,
    measured,
    text_output,
    with_face,
)
from .same_person import same_person_from

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
        value, text, bars = _likeness(analyzer, image, reference)
        other = math.nan
        if independent is not None:
            other, more, others = _likeness(independent, image, reference)
            text = f"{text}; independently {more}"
            bars = [
                *(replace(bar, by=analyzer.encoder) for bar in bars),
                *(replace(bar, by=independent.encoder) for bar in others),
            ]
        return io.NodeOutput(value, text, other, ui=measured(text, bars))


def _likeness(
    analyzer: LoadedAnalyzer, image: Tensor, reference: Tensor
) -> tuple[float, str, list[Bar]]:
    """Mean cosine similarity, the text with the name of the recogniser, a bar for each image."""
    from ...faces.identity import average
    from ...faces.metrics import likeness

    portraits = detections_of(analyzer, reference, 0, LIKENESS)
    person = average(list(_people(analyzer, reference, portraits).values()))
    detections = detections_of(analyzer, image, 0, LIKENESS)
    found = {
        index: likeness(who, person) for index, who in _people(analyzer, image, detections).items()
    }
    values = list(found.values())
    span = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    text = f"likeness {mean(values):.2f}{span} by {person.encoder}{account(detections)}"
    known = same_person_from(person.encoder)
    bars = [
        Bar(
            max(value, 0.0),
            f"{value:.2f}",
            _meaning(value, known),
            known,
            image_number(index, len(detections)),
        )
        for index, value in found.items()
    ]
    return mean(values), text, bars


def _meaning(value: float, threshold: float | None) -> str:
    if threshold is None:
        return ""
    return "same person" if value >= threshold else "another person"


def _people(
    analyzer: LoadedAnalyzer, image: Tensor, detections: list[Detection]
) -> dict[int, Identity]:
    """The identity in each image that shows a face, by the image's index."""
    from ...faces.analyzers import to_rgb
    from ..host.execution import stepped, steps

    images = image.movedim(-1, 1)
    kept = with_face(detections, LIKENESS)
    return {
        i: analyzer.identity(to_rgb(images[i]), chosen(detections[i]))
        for i in stepped(kept, steps(len(kept)))
    }
