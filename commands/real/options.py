"""Options of ``generate`` and ``express`` for the user's own base."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ..checks import require_present
from ..faces import add_face_files
from .smirk import add_smirk

ABOUT = """
With --base the image is drawn on a Stable Diffusion 1.5 checkpoint of yours instead, at --size
pixels: the person by --identity-adapter (IP-Adapter-FaceID, -Plus, Plus v2 or -Portrait), the
expression by --expression-adapter (FineFace), Dense-Face's pose and person by --dense-face. With
--arc2face the UNet and the text encoder are Arc2Face's, which draws the person without words.
On an SDXL checkpoint as --base the identity works, with the FaceID files for SDXL."""
_FILES = {
    "base": "Stable Diffusion 1.5 in one file, ordinary or inpainting (nine channels), or SDXL",
    "identity-adapter": "IP-Adapter-FaceID, -Plus, Plus v2 or -Portrait, for Stable Diffusion 1.5 "
    "or SDXL as the base, or an SFSR adapter",
    "clip-vision": "CLIP vision ViT-H/14 in one file, for FaceID-Plus and Plus v2",
    "expression-adapter": "FineFace (one of its two files, the other beside it), or Arc2Face's",
    "dense-face": "Dense-Face's file, as denseface convert writes it",
    "controlnet": "a ControlNet for Stable Diffusion 1.5 in one file; or a Dense-Face file whose "
    "pose branch replaces that of --dense-face",
    "control-image": "image that an ordinary ControlNet reads; with --scene of the same size as it",
    "reference-image": "with --arc2face: photo whose look is kept, by the reference adapter in its "
    "folder",
    "vae": "autoencoder in place of the base's own, for the same kind of base",
    "flame-map": "file of denseface fit-flame: a word or photo for Arc2Face's expression adapter",
    "mask": "with --scene: white where the face is drawn anew; found by default",
}
BY_NAME, PLUS, PLUS_V2 = "by-name", "plus", "plusv2"
_STEPS, _GUIDANCE = 30, 7.0
_ARC2FACE_STEPS, _ARC2FACE_GUIDANCE = 25, 3.0
_REFERENCE_STRENGTH = 0.8
"""As ``sfsr.arc2face.reference_lora.STRENGTH``, which is imported when it is used."""
_NUMBERS = {
    "lora-strength": "strength of FaceID's LoRA",
    "s-scale": "only Plus v2: how much CLIP vision adds, 0 to 5",
    "control-strength": "strength of an ordinary ControlNet, 0 to 10",
}


def add_sampling_options(
    parser: argparse.ArgumentParser, tiny: tuple[int, float] | None = None
) -> None:
    """Arguments for the noise and the denoising.

    Args:
        tiny: Steps and guidance without ``--base``, where there is such a way.
    """
    steps, guidance = f"{_STEPS} by default", f"{_GUIDANCE:g} by default"
    if tiny is not None:
        steps, guidance = (
            f"{usual:g} by default, {real:g} with --base"
            for usual, real in zip(tiny, (_STEPS, _GUIDANCE), strict=True)
        )
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise, 0 by default")
    parser.add_argument("--steps", type=int, help=f"denoising steps, {steps}")
    parser.add_argument("--guidance", type=float, help=f"guidance scale, {guidance}")


def add_expression_options(parser: argparse.ArgumentParser) -> None:
    """Arguments for the strength of a word, and of expression against identity."""
    parser.add_argument(
        "--intensity", type=float, help="intensity of --word, 0 to 1.5, 1 by default"
    )
    parser.add_argument(
        "--balance", type=float, default=0.0, help="-1 (identity alone) to 1 (expression alone)"
    )


def add_real_options(
    parser: argparse.ArgumentParser, *, base_required: bool = False, omit: Collection[str] = ()
) -> None:
    """Arguments for a base of one's own; without those to ``omit``, which then are None."""
    group = parser.add_argument_group("with a Stable Diffusion 1.5 or SDXL checkpoint")
    for name, meaning in _FILES.items():
        if name not in omit:
            required = base_required and name == "base"
            group.add_argument(
                f"--{name}", type=Path, metavar="FILE", help=meaning, required=required
            )
    parser.set_defaults(**{name.replace("-", "_"): None for name in omit})
    if "arc2face" not in omit:
        group.add_argument(
            "--arc2face",
            type=Path,
            metavar="FOLDER",
            help="Arc2Face's files in the folders they are published in (arc2face, encoder, "
            "ref_adapter for --reference-image, and arcface.onnx for photos); "
            f"{_ARC2FACE_STEPS} steps and guidance {_ARC2FACE_GUIDANCE:g} by default",
        )
        group.add_argument(
            "--reference-strength",
            type=float,
            default=_REFERENCE_STRENGTH,
            help=f"of the reference adapter's LoRA, 0 to 2; {_REFERENCE_STRENGTH:g} by default",
        )
    group.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="CLIP's vocab.json and merges.txt; ComfyUI's (comfy/sd1_tokenizer) by default",
    )
    group.add_argument("--size", type=int, help="pixels of a side; 512 by default, 1024 on SDXL")
    group.add_argument("--sampler", default="ddim", help="ddim by default; euler, dpmpp_2m, ...")
    group.add_argument("--negative", default="", metavar="WORDS", help="what is not to be seen")
    for name, meaning in _NUMBERS.items():
        group.add_argument(f"--{name}", type=float, default=1.0, help=f"{meaning}; 1 by default")
    group.add_argument(
        "--plus-version",
        choices=(BY_NAME, PLUS, PLUS_V2),
        default=BY_NAME,
        help="FaceID-Plus and Plus v2 files differ in their names alone: choose if yours was "
        "renamed",
    )
    add_face_files(group)
    if "smirk" not in omit:
        add_smirk(group)


def require_base(args: argparse.Namespace, *others: str) -> None:
    """Refuse options of a base without one.

    Args:
        others: Further options that this command's tiny world does not read.

    Raises:
        InputError: One of them is given and ``--base`` is not.
    """
    from ...errors import InputError

    faces = ("insightface", "landmarker", "yunet", "smirk", "face-mesh", "gaze")
    for name in (*_FILES, "arc2face", "tokenizer", *faces, *others):
        value = getattr(args, name.replace("-", "_"))
        if args.base is None and value is not None and value is not False:  # 0 is a value
            raise InputError(
                "the tiny world has no use for this option",
                where=f"--{name}",
                fix="Give a Stable Diffusion 1.5 or SDXL checkpoint as --base, too",
            )


def require_files(args: argparse.Namespace, *others: str) -> None:
    """Check that all files and folders to read are there, before a base is loaded.

    Args:
        others: Options that are checked elsewhere.

    Raises:
        InputError: Some are missing; it names them all.
    """
    from ...pipelines.arc2face import REFERENCE_FILE, TEXT_FILE, UNET_FILE

    inside: list[Path] = []
    if args.arc2face is not None:
        reference = [] if args.reference_image is None else [REFERENCE_FILE]
        inside = [args.arc2face / file for file in (UNET_FILE, TEXT_FILE, *reference)]
    require_present(args, *others, contents=inside)


def drawing_choices(args: argparse.Namespace) -> dict[str, Any]:
    """Keywords of ``RealPipeline.draw``: size, steps, guidance, sampler.

    The size is known after ``real_base.check_base``.

    Raises:
        InputError: The sampler is unknown, or the steps are out of range.
    """
    from ...pipelines.real.samplers import scheduler_of

    arc2face = args.arc2face is not None
    usual = (_ARC2FACE_STEPS, _ARC2FACE_GUIDANCE) if arc2face else (_STEPS, _GUIDANCE)
    steps = usual[0] if args.steps is None else args.steps
    scheduler_of(args.sampler, steps)
    guidance = usual[1] if args.guidance is None else args.guidance
    return {"size": args.size, "steps": steps, "guidance": guidance, "sampler": args.sampler}
