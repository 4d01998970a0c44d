"""``denseface express``: a person with an expression in a scene."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..faces.angles import ANGLE_NAMES
from .checks import require_sampling
from .real.angles import add_angle_options, angles_on_a_base
from .real.face_mesh import add_face_mesh_options
from .real.image import run_real
from .real.options import (
    ABOUT,
    add_expression_options,
    add_real_options,
    add_sampling_options,
    require_base,
)
from .real.smirk import add_flame

if TYPE_CHECKING:
    from torch import Tensor

    from ..pipelines.tiny.sfsr import SFSRPipeline
    from ..sfsr.expression import Expression

DESCRIPTION = (
    """\
Put a person with an expression into a scene, in the bundled tiny world (SFSR, docs/sfsr.md).

The identity comes from one or more images of one person, the expression from one of 135 words
("denseface render words" shows them) or from somebody's image, everything else from the scene: an
image, or words from which one is generated first. The head in the scene is redrawn in the same
pose; outside it the scene is unchanged, bit for bit. Scenes may have any size; heads are drawn
at 128 px.

The tiny world is a demonstration: a small model trained on rendered heads. Images for it come
from "denseface render sheet --count 1 --columns 1 --seed 7 --out a.png".
"""
    + ABOUT
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--identity",
        type=Path,
        action="append",
        metavar="IMAGE",
        help="the person; several images of one person improve the likeness; with --base also a "
        "file that Save Identity wrote",
    )
    face = parser.add_mutually_exclusive_group(required=True)
    face.add_argument("--word", help="one of the 135 words, or an everyday one (smile)")
    face.add_argument(
        "--expression",
        type=Path,
        metavar="IMAGE",
        help="a face with this expression",
    )
    add_flame(face)
    add_expression_options(parser)
    parser.add_argument("--scene", type=Path, metavar="IMAGE", help="image to put the head into")
    parser.add_argument(
        "--prompt", metavar="WORDS", help="make the scene from these words; beside --base any image"
    )
    parser.add_argument("--out", type=Path, default=Path("out/express.png"), help="file to write")
    add_sampling_options(parser, tiny=(20, 2.0))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--weights", type=Path, help="folder with weights other than the bundled")
    add_real_options(parser)
    add_angle_options(parser)
    add_face_mesh_options(parser)


def run(args: argparse.Namespace) -> None:
    """Write one image and print its name, or its settings as JSON."""
    import torch

    from ..demo.bundled import WEIGHTS
    from ..errors import InputError
    from ..pipelines.images import (
        check_image_name,
        read_alpha,
        read_image,
        with_alpha,
        write_image,
    )
    from ..pipelines.tiny.scene_crop import express_in
    from ..pipelines.tiny.sfsr import SFSRPipeline
    from ..storage import atomic_path

    require_sampling(args)
    if args.intensity is not None and args.word is None:
        raise InputError(
            "only words have an intensity", where="--intensity", fix="Omit it, or use --word"
        )
    if args.base is not None:
        _on_a_base(args)
        return
    require_base(args, *ANGLE_NAMES)
    if args.flame is not None:
        raise InputError(
            "the tiny world reads no FLAME numbers",
            where="--flame",
            fix="Choose a --word, or draw on a --base with Arc2Face",
        )
    _require_inputs(args)
    check_image_name(args.out)
    # Before the networks are loaded, so that a wrong word or file fails at once.
    word = _word(args)
    people = torch.cat([read_image(path, "identity") for path in args.identity])
    given = _opened(args)
    alpha = None if args.scene is None else read_alpha(args.scene, "scene")
    with atomic_path(args.out) as temporary:  # first, so that a wrong path fails at once
        pipeline = SFSRPipeline.load(args.weights or WEIGHTS, progress=True)
        identity = pipeline.world.identity(people, [str(path) for path in args.identity])
        expression = word or _shown(args.expression, pipeline, given["expression"])
        choices = {
            "steps": 20 if args.steps is None else args.steps,
            "guidance": 2.0 if args.guidance is None else args.guidance,
        }
        scene = given.get("scene")
        if scene is None:
            scene = pipeline.world.text_image(args.prompt, args.seed, **choices)[0]
        image = express_in(
            pipeline, scene, identity, expression, "", args.seed, balance=args.balance, **choices
        )
        about: dict[str, Any] = {
            "expression": expression.source,
            "blendshapes": {name: round(v, 4) for name, v in expression.named().items() if v},
            "scene": args.prompt or str(args.scene),
            "seed": args.seed,
            "balance": args.balance,
            **choices,
        }
        write_image(temporary, with_alpha(image[None], alpha), about)
    print(json.dumps({"image": str(args.out), **about}, indent=1) if args.json else args.out)


def _on_a_base(args: argparse.Namespace) -> None:
    from ..sfsr.guidance import balance_weights

    about = run_real(
        args,
        args.identity or [],
        args.prompt or "",
        expression=_word(args),
        shown=args.expression,
        angles=angles_on_a_base(args),
        weights=balance_weights(args.balance),
    )
    print(json.dumps({"image": str(args.out), **about}, indent=1) if args.json else args.out)


def _word(args: argparse.Namespace) -> Expression | None:
    """The expression of the word, where one is given."""
    from ..sfsr.words import expression_of_word

    if args.word is None:
        return None
    intensity = 1.0 if args.intensity is None else args.intensity
    return expression_of_word(args.word, intensity, args.seed)


def _require_inputs(args: argparse.Namespace) -> None:
    """What the tiny world needs; with a base there are more ways."""
    from ..errors import InputError

    if args.identity is None:
        raise InputError("the following arguments are required: --identity")
    if args.scene is None and args.prompt is None:
        raise InputError("one of the arguments --scene --prompt is required")
    if args.scene is not None and args.prompt is not None:
        raise InputError("argument --prompt: not allowed with argument --scene")


def _opened(args: argparse.Namespace) -> dict[str, Tensor]:
    """The scene and the expression's image [3, H, W], unscaled, where given."""
    from ..pipelines.images import open_rgb, tensor_of
    from ..pipelines.tiny.prompts import unread_words

    ignored = unread_words(args.prompt or "")
    if ignored:
        words = ", ".join(ignored)
        print(f"note: the tiny world does not read these words: {words}", file=sys.stderr)
    paths = {"expression": args.expression, "scene": args.scene}
    return {
        what: tensor_of(open_rgb(path, what))[0] for what, path in paths.items() if path is not None
    }


def _shown(path: Path, pipeline: SFSRPipeline, image: Tensor) -> Expression:
    """The expression of the largest face of an image."""
    from ..demo.networks.face_finder import TinyWorldFaces
    from ..faces.analyzers import find_faces
    from ..pipelines.tiny.not_tiny import FOR_PHOTOGRAPHS, not_tiny_world
    from ..sfsr.expression import from_face

    finder = TinyWorldFaces(pipeline.world.analyzer, FOR_PHOTOGRAPHS)
    faces = find_faces(finder, image, order="largest first")
    if not faces:
        raise not_tiny_world(str(path))
    return from_face(faces[0], str(path))
