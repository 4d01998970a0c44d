"""Loading what the options for the user's own base name."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from ..faces import landmarker_path
from .options import BY_NAME, PLUS_V2
from .smirk import with_smirk

if TYPE_CHECKING:
    from ...dense_face.checkpoints.adapter_file import DenseFaceAdapter
    from ...faces.analyzers import FaceAnalyzer, Recogniser
    from ...pipelines.base import Base
    from ...pipelines.real.adapters import Adapter
    from ...pipelines.real.pipeline import RealPipeline


def load_real(
    args: argparse.Namespace, prompt: str, *, progress: bool = True
) -> tuple[RealPipeline, tuple[Adapter | None, Adapter | None]]:
    """The base with all that the options put on it, for any number of images.

    Args:
        prompt: Words to be read; a base without a tokenizer reads none.
        progress: Whether each image shows its steps.

    Returns:
        The pipeline; the adapters of the identity and of the expression, where given.

    Raises:
        FacePackError: A file is missing, damaged or for another base; nothing reads the words.
    """
    import torch

    from ...pipelines.arc2face import REFERENCE_FILE, load_arc2face, ordinary_parts
    from ...pipelines.real.adapters import read_adapter
    from ...pipelines.real.base_file import base_file
    from ...pipelines.real.pipeline import RealPipeline
    from ...pipelines.single_file import comfyui_tokenizer, load_vae, tokenizer_for
    from ...sfsr.arc2face.reference_lora import load_reference_lora

    file = base_file(args.base)
    shortcut = None if args.plus_version == BY_NAME else args.plus_version == PLUS_V2
    first, second = (
        None if path is None else read_adapter(path, file.target, shortcut)
        for path in (args.identity_adapter, args.expression_adapter)
    )
    base = file.load()
    reference = None
    if args.arc2face is not None:
        _require_alone(args)
        own, base = base, load_arc2face(args.arc2face, base)
        for part in ordinary_parts(own, base):
            says = f"warning: {part} in {args.arc2face} is that of the base, not Arc2Face's"
            print(says, file=sys.stderr)
        if args.reference_image is not None:
            reference = load_reference_lora(args.arc2face / REFERENCE_FILE, file.target)
    if args.vae is not None:
        base = load_vae(args.vae, base)
    tokenize = tokenizer_for(base, args.tokenizer or comfyui_tokenizer())
    if args.arc2face is None and args.tokenizer is None and comfyui_tokenizer() is None:
        _require_words(base, prompt, args.negative)
    dense, controlnet = _dense_face(args, base)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arc2face = args.arc2face is not None
    pipeline = RealPipeline(
        base, tokenize, dense, device, progress, controlnet, arc2face, reference
    )
    return pipeline, (first, second)


def finder_of(args: argparse.Namespace) -> FaceAnalyzer | None:
    """The landmarker where it is given, for its outline; else YuNet, InsightFace, or nothing.

    With SMIRK where it is given.
    """
    finder = _finder(args)
    return None if finder is None else with_smirk(args, finder)


def _finder(args: argparse.Namespace) -> FaceAnalyzer | None:
    named = landmarker_path(args)
    if named is not None:
        from ...faces.mediapipe.landmarker import Landmarker

        return Landmarker(named, steady=True)
    if args.yunet is not None:
        from ...faces.opencv_zoo.yunet import YuNet

        return YuNet(args.yunet)
    if args.insightface is not None:
        from ...faces.insightface.analyzer import InsightFaceAnalyzer

        return InsightFaceAnalyzer(args.insightface)
    return None


def recogniser_of(args: argparse.Namespace) -> Recogniser | None:
    """Arc2Face's or InsightFace's recogniser, where its folder is given."""
    folder = args.arc2face or args.insightface
    if folder is None or (args.arc2face is not None and not any(folder.glob("*.onnx"))):
        return None
    from ...faces.insightface.recogniser import InsightFaceRecogniser

    return InsightFaceRecogniser(folder)


def _dense_face(args: argparse.Namespace, base: Base) -> tuple[DenseFaceAdapter | None, Any]:
    """Dense-Face with its pose branch, and an ordinary ControlNet; None where not given."""
    from dataclasses import replace

    from ...dense_face.checkpoints.adapter_file import load_adapter
    from ...dense_face.pose_branch import PoseBranch
    from ...errors import InputError
    from ...pipelines.real.controlnet import load_control

    dense = None if args.dense_face is None else load_adapter(args.dense_face)
    if args.controlnet is None:
        return dense, None
    control = load_control(args.controlnet, base)
    if not isinstance(control, PoseBranch):
        return dense, control
    if dense is None:
        raise InputError(
            "a pose branch needs Dense-Face's file beside it",
            where="--controlnet",
            fix="Give --dense-face, too",
        )
    if args.control_image is not None:
        raise InputError(
            "a pose branch draws its own image from the angles",
            where="--control-image",
            fix="Leave it out, or give an ordinary ControlNet",
        )
    return replace(dense, pose_branch=control), None


def _require_alone(args: argparse.Namespace) -> None:
    """Refuse beside Arc2Face what conditions an ordinary base on the person."""
    from ...errors import InputError

    for name in ("identity_adapter", "dense_face"):
        if getattr(args, name) is not None:
            raise InputError(
                "with Arc2Face the person is the prompt, and nothing else may draw one",
                where=f"--{name.replace('_', '-')}",
                fix="Leave it out, or draw without --arc2face",
            )


def _require_words(base: Base, prompt: str, negative: str) -> None:
    from ...demo.vocabulary import WORDS
    from ...errors import InputError

    if (prompt or negative) and base.text_encoder.config.vocab_size != len(WORDS):
        raise InputError(
            "checkpoints hold no tokenizer, and none was found, so words cannot be read",
            where="--tokenizer",
            fix="Give a folder with CLIP's vocab.json and merges.txt, such as ComfyUI's "
            "comfy/sd1_tokenizer",
        )
