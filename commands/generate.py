"""``denseface generate``: a new image of the person in one or more reference images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..faces.angles import ANGLE_NAMES, check_angles
from .checks import require_sampling
from .real.angles import add_angle_options, angles_on_a_base
from .real.face_mesh import add_face_mesh_options
from .real.image import run_real
from .real.options import (
    ABOUT,
    add_real_options,
    add_sampling_options,
    require_base,
)
from .real.smirk import add_flame

if TYPE_CHECKING:
    from torch import Tensor

    from ..faces.angles import Angles
    from ..pipelines.tiny.dense_face import DenseFacePipeline

DESCRIPTION = (
    """\
Make a new image of the person in the reference images, in the bundled tiny world.

The tiny world is a demonstration: a small model trained on rendered heads. References come from
"denseface render sheet --count 1 --columns 1 --seed 7 --out a.png". It knows about 200 words: hair,
skin, eyes, glasses, clothes, expressions, backgrounds.

Without a scene the whole image is generated from the prompt. With --scene only the head in
that image is redrawn; everything outside it is unchanged, bit for bit. --scene-prompt first
generates such a scene from words. Angles that are not given follow the
head of the scene, or face the camera.

Images are 128 x 128 px: others are cropped to their central square and resized.
"""
    + ABOUT
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--reference",
        type=Path,
        action="append",
        required=True,
        metavar="IMAGE",
        help="the person; several images of one person improve the likeness",
    )
    parser.add_argument(
        "--prompt",
        help='what the image shows, such as "smiling, in a forest"; * stands for the person',
    )
    add_angle_options(parser)
    scene = parser.add_mutually_exclusive_group()
    scene.add_argument("--scene", type=Path, metavar="IMAGE", help="image to put the head into")
    scene.add_argument("--scene-prompt", metavar="WORDS", help="make the scene from these words")
    add_sampling_options(parser, tiny=(20, 3.0))
    parser.add_argument("--scene-seed", type=int, help="seed of the scene, --seed by default")
    parser.add_argument("--out", type=Path, default=Path("out/face.png"), help="image to write")
    parser.add_argument("--weights", type=Path, help="folder with weights other than the bundled")
    add_real_options(parser)
    add_face_mesh_options(parser)
    face = parser.add_mutually_exclusive_group()
    face.add_argument(
        "--word",
        help="with --expression-adapter or --face-mesh: one of the 135 words, or an everyday one "
        "(smile)",
    )
    add_flame(face)


def run(args: argparse.Namespace) -> None:
    """Write one image and print its name."""
    from ..errors import InputError
    from ..pipelines.images import (
        IMAGE_SIZE,
        check_image_name,
        read_alpha,
        read_image,
        with_alpha,
        write_image,
    )
    from ..pipelines.tiny.prompts import face_prompt, unread_words
    from ..storage import atomic_path

    require_sampling(args)
    if args.prompt is not None and not args.prompt.strip():
        raise InputError(
            "the prompt is empty",
            where="--prompt",
            fix='Say what the image shows, such as "smiling, in a forest", or leave it out',
        )
    if args.base is not None:
        _on_a_base(args)
        return
    require_base(args)
    prompt = face_prompt(args.prompt or "")
    check_image_name(args.out)
    args.steps = 20 if args.steps is None else args.steps
    args.guidance = 3.0 if args.guidance is None else args.guidance
    check_angles(tuple(getattr(args, name) or 0.0 for name in ANGLE_NAMES))
    references = [read_image(path, "reference") for path in args.reference]
    scene = alpha = None
    if args.scene is not None:
        scene = read_image(args.scene, "scene")
        alpha = read_alpha(args.scene, "scene", IMAGE_SIZE)
    with atomic_path(args.out) as temporary:  # first, so that a wrong path fails at once
        ignored = unread_words(prompt) + unread_words(args.scene_prompt or "")
        if ignored:
            words = ", ".join(ignored)
            print(f"note: the tiny world does not read these words: {words}", file=sys.stderr)
        image, angles = _generated(args, references, scene, prompt)
        about: dict[str, Any] = {
            "prompt": prompt,
            "angles": angles,
            "seed": args.seed,
            "steps": args.steps,
            "guidance": args.guidance,
            "scene": args.scene_prompt or (scene is not None),
        }
        write_image(temporary, with_alpha(image, alpha), about)
    print(args.out)


def _on_a_base(args: argparse.Namespace) -> None:
    from ..errors import InputError
    from ..sfsr.words import expression_of_word

    if args.scene_prompt is not None:
        raise InputError(
            "with a base no scene is made from words",
            where="--scene-prompt",
            fix="Give a --scene, or describe the whole image in --prompt",
        )
    angles = angles_on_a_base(args)
    word = None if args.word is None else expression_of_word(args.word, 1.0, args.seed)
    run_real(args, args.reference, args.prompt or "", expression=word, angles=angles)
    print(args.out)


def _generated(
    args: argparse.Namespace, references: list[Tensor], scene: Tensor | None, prompt: str
) -> tuple[Tensor, Angles]:
    import torch

    from ..demo.bundled import WEIGHTS
    from ..pipelines.tiny.dense_face import DenseFacePipeline

    pipeline = DenseFacePipeline.load(args.weights or WEIGHTS, progress=True)
    names = [str(path) for path in args.reference]
    identity = pipeline.identity(torch.cat(references), names)
    choices = {"steps": args.steps, "guidance": args.guidance}
    latents = None
    if args.scene_prompt is not None:
        seed = args.seed if args.scene_seed is None else args.scene_seed
        latents = pipeline.text_latents(args.scene_prompt, seed, **choices)
        scene = pipeline.decode(latents)
    angles = _angles(args, pipeline, scene)
    if scene is None:
        return pipeline.face_image(identity, prompt, angles, args.seed, **choices), angles
    made = pipeline.personalise(
        scene, identity, prompt, angles, args.seed, latents=latents, **choices
    )
    return made.image, angles


def _angles(args: argparse.Namespace, pipeline: DenseFacePipeline, scene: Tensor | None) -> Angles:
    """The given angles; the others are those of the scene's head, or 0."""
    given = [getattr(args, name) for name in ANGLE_NAMES]
    usual = (0.0, 0.0, 0.0)
    if scene is not None and None in given:
        usual = pipeline.scene_angles(scene)[0]
    yaw, pitch, roll = (
        usual if angle is None else angle for angle, usual in zip(given, usual, strict=True)
    )
    return yaw, pitch, roll
