"""Options of ``generate`` and ``express`` for the user's own base, and running them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .faces import TASK_FILE_VARIABLE

if TYPE_CHECKING:
    from torch import Tensor

    from ..faces.analyzers import FaceAnalyzer, Recogniser
    from ..faces.angles import Angles
    from ..pipelines.real.scene import SceneCrop
    from ..sfsr.expression import Expression

ABOUT = """
With --base the image is drawn on a Stable Diffusion 1.5 checkpoint of yours instead, at --size
pixels: the person by --identity-adapter (IP-Adapter-FaceID or -Portrait), the expression by
--expression-adapter (FineFace), Dense-Face's pose and person by --dense-face."""
_FILES = {
    "base": "Stable Diffusion 1.5 in one file, ordinary or inpainting (nine channels)",
    "identity-adapter": "IP-Adapter-FaceID, -Portrait, or an SFSR adapter",
    "expression-adapter": "FineFace (one of its two files, the other beside it)",
    "dense-face": "Dense-Face's file, as denseface convert writes it",
    "controlnet": "another pose branch than that of --dense-face, of the same form",
    "vae": "autoencoder in place of the base's own",
    "mask": "with --scene: white where the face is drawn anew; found by default",
}


def add_real_options(parser: argparse.ArgumentParser) -> None:
    """Arguments for a base of one's own."""
    group = parser.add_argument_group("with a Stable Diffusion 1.5 checkpoint")
    for name, meaning in _FILES.items():
        group.add_argument(f"--{name}", type=Path, metavar="FILE", help=meaning)
    group.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="CLIP's vocab.json and merges.txt; ComfyUI's (comfy/sd1_tokenizer) by default",
    )
    group.add_argument("--size", type=int, default=512, help="pixels of a side, 512 by default")
    group.add_argument("--sampler", default="ddim", help="ddim by default; euler, dpmpp_2m, ...")
    group.add_argument("--negative", default="", metavar="WORDS", help="what is not to be seen")
    group.add_argument("--lora-strength", type=float, default=1.0, help="of FaceID's LoRA, 1")
    group.add_argument(
        "--landmarker",
        type=Path,
        metavar="FILE",
        help=f"MediaPipe's face_landmarker .task file; {TASK_FILE_VARIABLE} by default",
    )
    group.add_argument(
        "--insightface", type=Path, metavar="FOLDER", help="folder of an InsightFace pack"
    )


def require_base(args: argparse.Namespace) -> None:
    """Refuse options of a base without one.

    Raises:
        InputError: One of them is given and ``--base`` is not.
    """
    from ..errors import InputError

    for name in (*_FILES, "tokenizer", "insightface", "landmarker"):
        if args.base is None and getattr(args, name.replace("-", "_")) is not None:
            raise InputError(
                "the tiny world has no use for this option",
                where=f"--{name}",
                fix="Give a Stable Diffusion 1.5 checkpoint as --base, too",
            )


def run_real(
    args: argparse.Namespace,
    people: list[Path],
    prompt: str,
    *,
    expression: Expression | None = None,
    shown: Path | None = None,
    angles: Angles | None = None,
    weights: tuple[float, float] = (1.0, 1.0),
) -> dict[str, Any]:
    """Draw, write ``args.out``, and return the image's settings.

    Args:
        people: Photos of one person, or identity files.
        expression: Of a word. shown: Else an image of somebody with it.
        angles: Of the head; those of the scene's face, or none, if None.

    Raises:
        FacePackError: Anything that the user can put right, before the sampling.
    """
    import torch

    from ..pipelines.images import check_image_name, write_image
    from ..pipelines.real.adapters import prepare_sources, read_adapter
    from ..pipelines.real.people import read_people
    from ..pipelines.real.pipeline import RealInputs, RealPipeline, dense_person
    from ..pipelines.real.samplers import scheduler_of
    from ..pipelines.single_file import comfyui_tokenizer, load_checkpoint, load_vae, tokenizer_for
    from ..storage import atomic_path

    check_image_name(args.out)
    steps = 30 if args.steps is None else args.steps
    guidance = 7.0 if args.guidance is None else args.guidance
    scheduler_of(args.sampler, steps)  # a wrong name fails at once
    with atomic_path(args.out) as temporary:
        finder, recogniser = _finder(args), _recogniser(args)
        scene = _scene(args, finder)
        photos = read_people(people, finder, recogniser)
        if expression is None and shown is not None:
            expression = _expression(shown, finder)
        base = load_checkpoint(args.base, inpainting=True)
        if args.vae is not None:
            base = load_vae(args.vae, base)
        first, second = (
            None if path is None else read_adapter(path, base)
            for path in (args.identity_adapter, args.expression_adapter)
        )
        sources = prepare_sources(first, second, photos, expression)
        if sources.units is not None and sources.units.lost:
            print(f"warning: {sources.units.summary()}", file=sys.stderr)
        tokenize = tokenizer_for(base, args.tokenizer or comfyui_tokenizer())
        if args.tokenizer is None and comfyui_tokenizer() is None:
            _require_words(base, prompt, args.negative)
        dense = _dense_face(args)
        if angles is None and scene is not None and dense is not None:
            angles = scene.angles
        inputs = RealInputs(
            prompt, args.negative, sources, weights, args.lora_strength,
            dense_person(dense, photos), angles, scene,
        )  # fmt: skip
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        pipeline = RealPipeline(base, tokenize, dense, device, progress=True)
        choices: dict[str, Any] = {
            "size": args.size, "steps": steps, "guidance": guidance, "sampler": args.sampler
        }  # fmt: skip
        image = pipeline.draw(inputs, args.seed, **choices)
        about = {
            "base": args.base.name,
            "identity_adapter": args.identity_adapter and args.identity_adapter.name,
            "expression_adapter": args.expression_adapter and args.expression_adapter.name,
            "prompt": prompt,
            "expression": expression and expression.source,
            "units": sources.units and sources.units.summary(),
            "scene": None if args.scene is None else str(args.scene),
            "angles": angles,
            "seed": args.seed,
            **choices,
        }
        write_image(temporary, image, about)
    return about


def _finder(args: argparse.Namespace) -> FaceAnalyzer | None:
    """The landmarker where it is given, for its outline; else InsightFace; else nothing."""
    named = args.landmarker or os.environ.get(TASK_FILE_VARIABLE)
    if named:
        from ..faces.mediapipe.landmarker import Landmarker

        return Landmarker(named, steady=True)
    if args.insightface is not None:
        from ..faces.insightface.analyzer import InsightFaceAnalyzer

        return InsightFaceAnalyzer(args.insightface)
    return None


def _recogniser(args: argparse.Namespace) -> Recogniser | None:
    if args.insightface is None:
        return None
    from ..faces.insightface.recogniser import InsightFaceRecogniser

    return InsightFaceRecogniser(args.insightface)


def _scene(args: argparse.Namespace, finder: FaceAnalyzer | None) -> SceneCrop | None:
    from ..errors import InputError
    from ..pipelines.images import open_rgb, tensor_of
    from ..pipelines.real.scene import largest_face, scene_crop

    if args.scene is None:
        return None
    image: Tensor = tensor_of(open_rgb(args.scene, "scene"))[0]
    mask: Tensor | None = None
    if args.mask is not None:
        mask = tensor_of(open_rgb(args.mask, "mask"))[0].mean(0)
        if mask.shape != image.shape[-2:]:
            raise InputError(
                "the mask has another size than the scene",
                where=str(args.mask),
                fix="Make the mask from this scene",
            )
    if finder is not None:
        return scene_crop(image, largest_face(finder, image, str(args.scene)), args.size, mask)
    if mask is None:
        raise InputError(
            "nothing is given that finds the face in the scene",
            where=str(args.scene),
            fix="Give --landmarker, --insightface, or a --mask of the face",
        )
    from ..pipelines.real.scene import masked_crop

    return masked_crop(image, mask, args.size)


def _expression(path: Path, finder: FaceAnalyzer | None) -> Expression:
    from ..errors import InputError
    from ..pipelines.images import open_rgb, tensor_of
    from ..pipelines.real.scene import largest_face
    from ..sfsr.expression import from_face

    if finder is None:
        raise InputError(
            "nothing is given that measures the expression",
            where=str(path),
            fix="Give --landmarker, or choose a --word",
        )
    image = tensor_of(open_rgb(path, "expression"))[0]
    return from_face(largest_face(finder, image, str(path)), str(path))


def _dense_face(args: argparse.Namespace) -> Any:
    from dataclasses import replace

    from ..dense_face.checkpoints.adapter_file import load_adapter
    from ..errors import InputError

    dense = None if args.dense_face is None else load_adapter(args.dense_face)
    if args.controlnet is None:
        return dense
    if dense is None:
        raise InputError(
            "a pose branch needs Dense-Face's file beside it",
            where="--controlnet",
            fix="Give --dense-face, too",
        )
    return replace(dense, pose_branch=load_adapter(args.controlnet).pose_branch)


def _require_words(base: Any, prompt: str, negative: str) -> None:
    from ..demo.vocabulary import WORDS
    from ..errors import InputError

    if (prompt or negative) and base.text_encoder.config.vocab_size != len(WORDS):
        raise InputError(
            "checkpoints hold no tokenizer, and none was found, so words cannot be read",
            where="--tokenizer",
            fix="Give a folder with CLIP's vocab.json and merges.txt, such as ComfyUI's "
            "comfy/sd1_tokenizer",
        )
