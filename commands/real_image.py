"""One image on the user's own base, for ``generate`` and ``express``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .real_options import finder_of, load_real, recogniser_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..faces.analyzers import FaceAnalyzer
    from ..faces.angles import Angles
    from ..pipelines.real.adapters import Adapter
    from ..pipelines.real.clip_vision import ClipStates
    from ..pipelines.real.people import Reference
    from ..pipelines.real.scene import SceneCrop
    from ..sfsr.expression import Expression


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
    from ..pipelines.images import check_image_name, write_image
    from ..pipelines.real.adapters import prepare_sources
    from ..pipelines.real.people import read_people
    from ..pipelines.real.pipeline import RealInputs, dense_person
    from ..pipelines.real.samplers import scheduler_of
    from ..storage import atomic_path

    check_image_name(args.out)
    steps = 30 if args.steps is None else args.steps
    guidance = 7.0 if args.guidance is None else args.guidance
    scheduler_of(args.sampler, steps)  # a wrong name fails at once
    with atomic_path(args.out) as temporary:
        finder, recogniser = finder_of(args), recogniser_of(args)
        scene = _scene(args, finder)
        control_image = _control_image(args, scene)
        references = read_people(people, finder, recogniser)
        photos = [reference.identity for reference in references]
        if expression is None and shown is not None:
            expression = _expression(shown, finder)
        pipeline, (first, second) = load_real(args, prompt)
        clip = _clip_states(args, first, references)
        sources = prepare_sources(first, second, photos, expression, clip, args.s_scale)
        if sources.units is not None and sources.units.lost:
            print(f"warning: {sources.units.summary()}", file=sys.stderr)
        dense = pipeline.dense_face
        if angles is None and scene is not None and dense is not None:
            angles = scene.angles
        inputs = RealInputs(
            prompt, args.negative, sources, weights, args.lora_strength,
            dense_person(dense, photos), angles, scene, control_image, args.control_strength,
        )  # fmt: skip
        choices: dict[str, Any] = {
            "size": args.size, "steps": steps, "guidance": guidance, "sampler": args.sampler
        }  # fmt: skip
        image = pipeline.draw(inputs, args.seed, **choices)
        files = ("base", "identity_adapter", "expression_adapter", "controlnet")
        about = {
            **{name: getattr(args, name) and getattr(args, name).name for name in files},
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


def _clip_states(
    args: argparse.Namespace, adapter: Adapter | None, references: list[Reference]
) -> ClipStates | None:
    """CLIP vision of the person's photos, where the adapter reads it and it is given."""
    from ..pipelines.real.adapters import clip_width
    from ..pipelines.real.clip_vision import load_clip_vision

    width = clip_width(adapter)
    if not width or args.clip_vision is None or not references:
        return None
    faces = [reference.face_image() for reference in references]
    return load_clip_vision(args.clip_vision, width).states(faces)


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


def _control_image(args: argparse.Namespace, scene: SceneCrop | None) -> Tensor | None:
    """What an ordinary ControlNet reads, at the base's size."""
    from ..pipelines.images import open_rgb, tensor_of
    from ..pipelines.real.controlnet import control_image

    if args.control_image is None:
        return None
    image = tensor_of(open_rgb(args.control_image, "control image"))[0]
    return control_image(image, args.size, scene, str(args.control_image))


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
