"""Published face networks under the host's memory management."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...faces.analyzers import FaceAnalyzer
from ...faces.encoders.aligned_recogniser import AlignedRecogniser
from ...faces.encoders.ir_se50 import ENCODER, load_ir_se50
from ...faces.encoders.six_d_rep_net import SixDRepNetPose, load_six_d_rep_net
from ...faces.encoders.smirk import SmirkAnalyzer, load_smirk
from .memory import load, managed

_WORKING_BYTES = 64 * 2**20
"""Upper bound for the activations of one aligned face."""


def load_encoder(path: Path, channel_order: str, alignment: str) -> AlignedRecogniser:
    """IR-SE50 from a file as a recogniser; raises ModelFileError, IncompatibleError."""
    return AlignedRecogniser(ENCODER, _run(load_ir_se50(path)), channel_order, alignment)


def load_pose_network(path: Path) -> SixDRepNetPose:
    """6DRepNet from a file as an analyzer; raises ModelFileError, IncompatibleError."""
    return SixDRepNetPose(_run(load_six_d_rep_net(path)))


def load_smirk_analyzer(path: Path, analyzer: FaceAnalyzer, channel_order: str) -> SmirkAnalyzer:
    """An analyzer with SMIRK from a file; raises ModelFileError, FacePackError without timm."""
    return SmirkAnalyzer(analyzer, _run(load_smirk(path)), channel_order)


def _run(net: nn.Module) -> Callable[[Tensor], Tensor]:
    """The network as a function of CPU tensors; the host chooses the device."""
    patcher: Any = managed(net)

    def run(images: Tensor) -> Tensor:
        device = load(patcher, _WORKING_BYTES)
        return patcher.model(images.to(device)).cpu()

    return run
