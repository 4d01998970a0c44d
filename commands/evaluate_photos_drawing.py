"""The images of ``denseface evaluate photos`` that are still to be drawn."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from .real.face_mesh import draw_face_mesh
from .real.image import load_clip, read_control_image, real_inputs
from .real.loading import load_real
from .real.options import drawing_choices

if TYPE_CHECKING:
    from ..evaluation.photos.cases import Case
    from ..evaluation.photos.image_folder import ImageFolder
    from ..evaluation.photos.people import Person
    from ..faces.angles import Angles
    from ..faces.mesh.rig import FaceRig
    from ..pipelines.real.adapters import Adapter
    from ..pipelines.real.clip_vision import ClipStates
    from ..pipelines.real.inputs import RealInputs
    from ..pipelines.real.pipeline import RealPipeline
    from ..pipelines.real.scene import SceneCrop
    from ..sfsr.expression import Expression


def draw_pending(
    args: argparse.Namespace,
    pending: Sequence[Case],
    images: ImageFolder,
    people: Sequence[Person],
    expressions: Mapping[str, Expression],
    scenes: Mapping[str, SceneCrop],
    rig: FaceRig | None,
    angles: Angles | None,
) -> None:
    """Load the base, check all images, and draw them one by one.

    Args:
        rig: Of ``face_mesh.face_mesh_rig``; the mesh is drawn for each image.
        angles: Of all heads; those of the scene's face if None.

    Raises:
        FacePackError: Anything that the user can put right, before the first image.
    """
    from tqdm import tqdm

    from ..evaluation.photos.problems import Problems
    from ..sfsr.guidance import balance_weights

    weights = balance_weights(args.balance)
    loaded = load_real(args, " ".join({case.prompt for case in pending}), progress=False)
    pipeline, adapters = loaded
    named = {person.name: person for person in people}
    clip = _clip_states(args, adapters[0], [named[name] for name in {c.person for c in pending}])
    controls = {
        name: read_control_image(args, None if name is None else scenes[name])
        for name in {case.scene for case in pending}
    }

    problems = Problems()
    warnings: dict[str, None] = {}

    def inputs_of(case: Case) -> RealInputs:
        expression = None if case.word is None else expressions[case.word]
        scene = None if case.scene is None else scenes[case.scene]
        control = controls[case.scene]
        if rig is not None:
            first = named[case.person].first
            control, made = draw_face_mesh(args, rig, scene, first, expression, angles)
            warnings.update((f"face mesh: {note}", None) for note in made.notes)
        return real_inputs(
            args, loaded, list(named[case.person].conditioning), clip.get(case.person), case.prompt,
            expression=expression, scene=scene, control=control, angles=angles, weights=weights,
            drawn=rig is not None,
        )  # fmt: skip

    for case in pending:
        with problems.collect():
            inputs = inputs_of(case)
            pipeline.check(inputs, args.size)
            _require_person(inputs, loaded)
            units = inputs.sources.units
            if units is not None and units.lost:
                warnings[units.summary()] = None
    problems.check()
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    choices = drawing_choices(args)
    for case in tqdm(pending, desc="draw", unit="image"):
        image = pipeline.draw(inputs_of(case), case.noise_seed(args.seed), **choices)
        images.write(case, image)


def _require_person(
    inputs: RealInputs, loaded: tuple[RealPipeline, tuple[Adapter | None, Adapter | None]]
) -> None:
    """Raise IncompatibleError if Dense-Face alone is to draw people whom it cannot read."""
    from ..errors import IncompatibleError

    pipeline, adapters = loaded
    dense = pipeline.dense_face
    if dense is not None and inputs.person is None and adapters[0] is None:
        raise IncompatibleError(
            f"Dense-Face reads identities of {dense.encoder}, and the photos are measured by "
            "InsightFace",
            where="--dense-face",
            fix="Give an --identity-adapter for the person; Dense-Face then turns the head",
        )


def _clip_states(
    args: argparse.Namespace, adapter: Adapter | None, people: Sequence[Person]
) -> dict[str, ClipStates]:
    """CLIP vision of each person's photos, by name, where the adapter reads it."""
    encoder = load_clip(args, adapter)
    if encoder is None:
        return {}
    return {person.name: encoder.states(list(person.faces)) for person in people if person.faces}
