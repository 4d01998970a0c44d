"""Metrics of one drawn image."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...faces.analyzers import FaceAnalyzer, Recogniser, find_faces
from ...faces.face import Face
from ...faces.metrics import change_outside, expression_agreement
from ...pipelines.real.scene import SceneCrop
from ...sfsr.disfa_sources import intensities_of, intensities_of_blendshapes
from ...sfsr.expression import Expression, from_face, neutral
from .cases import Case
from .gallery import Gallery
from .summary import Row


class Measure:
    """Measures images of cases.

    Args:
        finder: Finds the faces; measures expressions where it gives blendshapes.
        evaluator: Recognises people; conditions nothing.
        gallery: The people, by the evaluator.
        expressions: The target of each word. scenes: By name.
    """

    def __init__(
        self,
        finder: FaceAnalyzer,
        evaluator: Recogniser,
        gallery: Gallery,
        expressions: Mapping[str, Expression],
        scenes: Mapping[str, SceneCrop],
    ) -> None:
        self._finder, self._evaluator, self._gallery = finder, evaluator, gallery
        self._expressions, self._scenes = expressions, scenes

    def __call__(self, case: Case, image: Tensor) -> Row:
        """Metrics of the image [3, H, W] of a case; all have the same names."""
        scene = None if case.scene is None else self._scenes[case.scene]
        mask = None if scene is None else scene.pasted_mask()
        face = self._face(image, mask)
        identity = None if face is None else self._evaluator.identify(image, face)
        return {
            "face_found": float(face is not None),
            **self._gallery.compare(identity, case.person),
            **expression_row(face, None if case.word is None else self._expressions[case.word]),
            "background_change": None
            if scene is None or mask is None
            else change_outside(scene.image[None], image[None], mask[None]).largest,
        }

    def _face(self, image: Tensor, mask: Tensor | None) -> Face | None:
        """The largest face; in a scene the largest whose centre lies in the mask [H, W]."""
        for face in find_faces(self._finder, image, order="largest first"):
            if mask is None or _inside(face, mask):
                return face
        return None


def expression_row(face: Face | None, target: Expression | None) -> Row:
    """How well a face shows a word, each beside the same for a face at rest.

    Returns:
        expression_error: Mean absolute error of the 51 blendshapes.
        expression_agreement: Their Ruzicka similarity (``faces.metrics``), 0..1.
        units_error: Mean absolute error of the 12 action units of DISFA, on their scale of 0..5.
        ``*_rest``: Of a face at rest; an adapter that does nothing scores about as well.
    """
    names = ("expression_error", "expression_agreement", "units_error")
    empty: Row = dict.fromkeys(name + end for name in names for end in ("", "_rest"))
    if face is None or not face.blendshapes or target is None:
        return empty
    wanted = intensities_of(target).values
    for end, shown in (("", from_face(face)), ("_rest", neutral())):
        agreement = expression_agreement(shown.named(), target.named())
        units = intensities_of_blendshapes(shown.face()).values
        values = (agreement.difference, agreement.agreement, float((units - wanted).abs().mean()))
        empty |= {name + end: value for name, value in zip(names, values, strict=True)}
    return empty


def _inside(face: Face, mask: Tensor) -> bool:
    left, top, right, bottom = face.box
    middle = torch.tensor([(top + bottom) / 2, (left + right) / 2])
    row, column = middle.long().tolist()
    height, width = mask.shape
    return 0 <= row < height and 0 <= column < width and bool(mask[row, column] > 0)
