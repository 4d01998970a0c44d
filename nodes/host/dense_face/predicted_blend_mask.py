"""The blend mask that the annotation head predicts in every step.

No mask is painted and no detector runs: the head reads the position of the face off the features of
text-editing mode, and face-generation mode draws there.
"""

from __future__ import annotations

from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ....dense_face.annotation.predicted_mask import predicted_mask
from .annotation import KEY, FeatureCapture, Window, stage_modules


class PredictedBlendMask:
    """A :class:`blend_mask.BlendMask` from captured features.

    Args:
        capture: On the MODEL of text-editing mode, reading every step of the range.
        threshold: Cells with at least this probability of the face belong to the mask.
        grow: Margin around it, as a fraction of the face's diameter.
        feather: Cells of the latent over which the edge fades, inside the mask.
    """

    def __init__(
        self, capture: FeatureCapture, threshold: float, grow: float, feather: float
    ) -> None:
        self._capture = capture
        self._threshold, self._grow, self._feather = threshold, grow, feather

    @property
    def always(self) -> int | None:
        """0 for an empty range, else None: the prediction is not known beforehand."""
        return 0 if self._capture.window.high < self._capture.window.low else None

    def alone(self, sigma: float) -> int | None:
        """See :class:`blend_mask.BlendMask`."""
        return None if self._capture.window.holds(sigma) else 0

    def at(self, sigma: float, scene: Tensor, face: Tensor) -> Tensor:
        """See :class:`blend_mask.BlendMask`; 0 where the head has read nothing."""
        height, width = scene.shape[-2:]
        level = min(self._capture.read, key=lambda known: abs(known - sigma), default=None)
        if level is None:
            return scene.new_zeros(1, 1, height, width)
        seen = self._capture.read[level]
        self._capture.read.clear()
        return predicted_mask(
            seen.face, height, width,
            threshold=self._threshold, grow=self._grow, feather=self._feather,
        )  # fmt: skip


def predicted_blend_mask(
    model: Any,
    head: Any,
    sigmas: tuple[float, float],
    *,
    threshold: float,
    grow: float,
    feather: float,
    where: str,
) -> tuple[Any, PredictedBlendMask]:
    """A clone of the text-editing MODEL that captures features, and the blend mask made of them.

    Args:
        model: MODEL of text-editing mode.
        head: The annotation head's patcher.
        sigmas: Highest and lowest noise level at which face-generation mode draws.
        threshold, grow, feather: See :class:`PredictedBlendMask`.

    Raises:
        IncompatibleError: The head was trained for another UNet, or the MODEL is not a UNet.
    """
    modules, widths = stage_modules(model, where)
    head.model.require(widths, where)
    high, low = sigmas
    capture = FeatureCapture(modules, head, Window(low, high, mean=True), None)
    captured = model.clone()
    captured.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, f"{KEY}_blend_mask", capture)
    captured.set_additional_models(f"{KEY}_blend_mask", [head])
    return captured, PredictedBlendMask(capture, threshold, grow, feather)
