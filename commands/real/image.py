"""One image on the user's own base, for ``generate`` and ``express``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .base import check_base
from .face_mesh import draw_face_mesh, face_mesh_rig
from .loading import finder_of, load_real, recogniser_of
from .options import drawing_choices, require_files
from .smirk import mapped, read_flame

if TYPE_CHECKING:
    from torch import Tensor

    from ...faces.analyzers import FaceAnalyzer
    from ...faces.angles import Angles
    from ...faces.identity import Identity
    from ...pipelines.real.adapters import Adapter
    from ...pipelines.real.clip_vision import ClipStates, ClipVision
    from ...pipelines.real.inputs import RealInputs
    from ...pipelines.real.pipeline import RealPipeline
    from ...pipelines.real.scene import SceneCrop
    from ...sfsr.expression import Expression


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
    from ...pipelines.images import check_image_name, read_alpha, with_alpha, write_image
    from ...pipelines.real.people import read_people
    from ...storage import atomic_path

    check_image_name(args.out)
    require_files(args)
    check_base(args)
    choices = drawing_choices(args)
    with atomic_path(args.out) as temporary:
        finder, recogniser = finder_of(args), recogniser_of(args)
        scene = alpha = None
        if args.scene is not None:
            scene = read_scene(args.scene, args, finder)
            alpha = read_alpha(args.scene, "scene")
        references = read_people(people, finder, recogniser)
        photos = [reference.identity for reference in references]
        if expression is None and getattr(args, "flame", None) is not None:
            expression = read_flame(args.flame, args, finder)
        if expression is None and shown is not None:
            expression = _expression(shown, finder)
        rig, made = face_mesh_rig(args), None
        if rig is None:
            control = read_control_image(args, scene)
        else:
            # The first photo gives the proportions.
            face = next((one.photo[1] for one in references if one.photo is not None), None)
            control, made = draw_face_mesh(args, rig, scene, face, expression, angles)
            print(f"face mesh: {made.summary()}", file=sys.stderr)
        if expression is not None and args.flame_map is not None:
            expression = mapped(expression, args.flame_map)
        reference = read_reference_image(args, finder)
        pipeline, adapters = load_real(args, prompt)
        encoder = None if not references else load_clip(args, adapters[0])
        clip = None
        if encoder is not None:
            clip = encoder.states([reference.face_image() for reference in references])
        inputs = real_inputs(
            args, (pipeline, adapters), photos, clip, prompt,
            expression=expression, scene=scene, control=control, angles=angles, weights=weights,
            drawn=made is not None,
        )  # fmt: skip
        if reference is not None:
            strength = args.reference_strength
            inputs = replace(inputs, reference=reference, reference_strength=strength)
        units = inputs.sources.units
        if units is not None and units.lost:
            print(f"warning: {units.summary()}", file=sys.stderr)
        image = pipeline.draw(inputs, args.seed, **choices)
        files = ("base", "arc2face", "identity_adapter", "expression_adapter", "controlnet")
        about = {
            **{name: getattr(args, name) and getattr(args, name).name for name in files},
            "prompt": prompt,
            "expression": expression and expression.source,
            "units": units and units.summary(),
            "scene": None if args.scene is None else str(args.scene),
            "angles": inputs.angles if made is None else made.angles,
            "gaze": args.gaze,
            "reference_image": args.reference_image and args.reference_image.name,
            "seed": args.seed,
            **choices,
        }
        write_image(temporary, with_alpha(image, alpha), about)
    return about


def real_inputs(
    args: argparse.Namespace,
    loaded: tuple[RealPipeline, tuple[Adapter | None, Adapter | None]],
    photos: list[Identity],
    clip: ClipStates | None,
    prompt: str,
    *,
    expression: Expression | None,
    scene: SceneCrop | None,
    control: Tensor | None,
    angles: Angles | None,
    weights: tuple[float, float],
    drawn: bool = False,
) -> RealInputs:
    """What one image shows, with the strengths that the options give.

    Args:
        loaded: Of ``load_real``.
        photos: One identity per photo; empty for anybody. clip: CLIP vision of the same photos.
        control: Of :func:`read_control_image`, or a face mesh.
        angles: Of the head; with Dense-Face those of the scene's face if None.
        drawn: Whether ``control`` shows angles and expression, which then need no adapter.

    Raises:
        FacePackError: As ``pipelines.real.adapters.prepare_sources``.
    """
    from ...pipelines.real.adapters import draws_expressions, prepare_sources
    from ...pipelines.real.inputs import RealInputs
    from ...pipelines.real.pipeline import dense_person
    from ...sfsr.arc2face.prompt import combined

    pipeline, adapters = loaded
    if drawn and not draws_expressions(*adapters):
        expression = None
    sources = prepare_sources(*adapters, photos, expression, clip, args.s_scale)
    dense = pipeline.dense_face
    if dense is not None and dense.pose_branch is not None:
        if angles is None and scene is not None:
            angles = scene.angles
    elif drawn:
        angles = None
    person = dense_person(dense, photos)
    if pipeline.arc2face and photos:
        person = combined(photos)
    return RealInputs(
        prompt, args.negative, sources, weights, args.lora_strength,
        person, angles, scene, control, args.control_strength,
    )  # fmt: skip


def load_clip(args: argparse.Namespace, adapter: Adapter | None) -> ClipVision | None:
    """CLIP vision, where the adapter reads it and it is given."""
    from ...pipelines.real.adapters import clip_width
    from ...pipelines.real.clip_vision import load_clip_vision

    width = clip_width(adapter)
    if not width or args.clip_vision is None:
        return None
    return load_clip_vision(args.clip_vision, width)


def read_scene(path: Path, args: argparse.Namespace, finder: FaceAnalyzer | None) -> SceneCrop:
    """The largest face of a scene, or what ``--mask`` marks in it, at the base's size.

    Raises:
        InputError: No face is found, or nothing is given that finds it; the mask does not fit.
    """
    from ...errors import InputError
    from ...pipelines.images import open_rgb, tensor_of
    from ...pipelines.real.scene import largest_face, masked_crop, scene_crop

    image: Tensor = tensor_of(open_rgb(path, "scene"))[0]
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
        return scene_crop(image, largest_face(finder, image, str(path)), args.size, mask)
    if mask is None:
        raise InputError(
            "nothing is given that finds the face in the scene",
            where=str(path),
            fix="Give --landmarker, --insightface, --yunet, or a --mask of the face",
        )
    return masked_crop(image, mask, args.size)


def read_control_image(args: argparse.Namespace, scene: SceneCrop | None) -> Tensor | None:
    """What an ordinary ControlNet reads, at the base's size; None where it is not given."""
    from ...pipelines.images import open_rgb, tensor_of
    from ...pipelines.real.controlnet import control_image

    if args.control_image is None:
        return None
    image = tensor_of(open_rgb(args.control_image, "control image"))[0]
    return control_image(image, args.size, scene, str(args.control_image))


def read_reference_image(args: argparse.Namespace, finder: FaceAnalyzer | None) -> Tensor | None:
    """What Arc2Face's reference adapter reads [1, 3, S, S]; None where it is not given.

    The largest face as FFHQ frames it, or the central square where nothing finds a face.
    """
    from ...faces.crops.batch import place_for_face
    from ...faces.crops.crop import cropped
    from ...pipelines.images import open_rgb, read_image, tensor_of
    from ...pipelines.real.scene import largest_face

    path = args.reference_image
    if path is None:
        return None
    if finder is None:
        return read_image(path, "reference image", args.size)
    image = tensor_of(open_rgb(path, "reference image"))[0]
    place = place_for_face(largest_face(finder, image, str(path)), args.size)
    return cropped(image, place).clamp(0, 1)[None]


def _expression(path: Path, finder: FaceAnalyzer | None) -> Expression:
    from ...errors import InputError
    from ...pipelines.images import open_rgb, tensor_of
    from ...pipelines.real.scene import largest_face
    from ...sfsr.expression import from_face

    if finder is None:
        raise InputError(
            "nothing is given that measures the expression",
            where=str(path),
            fix="Give --landmarker, or choose a --word",
        )
    image = tensor_of(open_rgb(path, "expression"))[0]
    return from_face(largest_face(finder, image, str(path)), str(path))
