"""A face made by numbers: the mesh of a head with its angles, gaze and expression, at its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch

from ..face import Box, Face, HeadPose
from ..head_pose import xyz_to_zyx
from ..mediapipe.mesh_pose import mesh_from_space
from .eyes import Gaze, gaze_blendshapes
from .hint import SMALLEST_FACE, check_canvas, shorter_side
from .placement import HALF_HIDDEN, degrees_away, place_in_box, stand, turned
from .rig import FaceRig, not_shown

SOURCE = "face mesh"


class MadeFace(NamedTuple):
    """A face, its angles in Euler order xyz, and what there is to say about it, as clauses."""

    face: Face
    angles: HeadPose
    notes: tuple[str, ...]

    def summary(self) -> str:
        """One line: angles, size and notes."""
        left, top, right, bottom = self.face.box
        turn = ", ".join(f"{name} {angle:g}" for name, angle in self.angles._asdict().items())
        return "; ".join([f"{turn}: {right - left:.0f} x {bottom - top:.0f} px", *self.notes])


def make_face(
    rig: FaceRig,
    angles: HeadPose,
    image_size: tuple[int, int],
    where: Box | Face,
    *,
    values: Mapping[str, float] | None = None,
    gaze: Gaze = Gaze(),  # noqa: B008  (immutable)
    person: Face | None = None,
) -> MadeFace:
    """The mesh of a face by numbers.

    Args:
        angles: Of the head, in Euler order xyz (``faces.head_pose``).
        image_size: Width and height of the canvas in pixels.
        where: The box that the frontal face fits, from hairline to chin, or a face of this canvas
            in whose place the head comes.
        values: Blendshapes, 0..1, by name; at rest if left out.
        gaze: Added to where the blendshapes look.
        person: Whose proportions the head has: a face of the landmarker, of any pose and
            expression. Those of the canonical face if left out.

    Raises:
        InputError: The canvas, the box, an angle or the gaze is out of range, a face is not the
            landmarker's, or ``where`` is a face of another canvas.
    """
    check_canvas(image_size)
    notes = []
    head = rig.rest
    if person is not None:
        head = rig.neutralise(stand(person, rig.geometry)[0], person.blendshapes or {})
        if person.blendshapes is None:
            notes.append("the person's own expression stays, for it was not measured")
    if isinstance(where, Face):
        where.require_size(*image_size)
    if isinstance(where, Face) and where.scheme == "mesh":
        place = stand(where, rig.geometry)[1]
    else:
        place = place_in_box(head, where.box if isinstance(where, Face) else where, image_size)

    moves = dict(values or {})
    for name, value in gaze_blendshapes(gaze).items():
        moves[name] = moves.get(name, 0.0) + value
    points = turned(rig.move(head, moves), angles, place)
    mesh = mesh_from_space(points, image_size)
    (left, top), (right, bottom) = mesh[:468, :2].amin(0).tolist(), mesh[:468, :2].amax(0).tolist()

    if degrees_away(angles, place) >= HALF_HIDDEN:
        notes.append("half of the face is hidden; it is drawn as the annotator draws such faces")
    if shorter_side(mesh) < SMALLEST_FACE:
        notes.append(f"smaller than {SMALLEST_FACE} px, which the ControlNet has never seen")
    if left < 0 or top < 0 or right > image_size[0] or bottom > image_size[1]:
        notes.append("part of the face is outside the image")
    if hidden := not_shown(moves):
        notes.append(f"the mesh does not show {', '.join(hidden)}")
    face = Face(
        image_size=image_size,
        box=(left, top, right, bottom),
        score=1.0,
        landmarks=mesh.to(torch.float32),
        scheme="mesh",
        source=SOURCE,
        blendshapes=moves,
        pose=xyz_to_zyx(angles),
    )
    return MadeFace(face, angles, tuple(notes))
