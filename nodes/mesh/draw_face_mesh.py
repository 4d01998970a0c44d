"""A face by numbers, as the MediaPipe-face ControlNet reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io
from torch import Tensor

from ...faces.mesh.eyes import GAZE_LIMIT
from ...faces.mesh.hint import LARGEST_SIDE
from ..analysis.chosen_face import index_input
from ..analysis.load_analyzer import file_list
from ..host.face_models import LANDMARKER, model_file
from ..host.folders import file_mark
from ..host.missing_files import found
from ..images import preview_image
from ..inputs import ANGLES, PITCH, YAW, angle, between
from ..sockets import Expressions, ExpressionSocket, FacesSocket, FoundFaces, HeadPoses, PoseSocket
from .drawings import CATEGORY, drawn, outputs, scene_input, scenes_of

if TYPE_CHECKING:
    from ...faces.face import Box, Face

NAME = "Draw Face Mesh"


class DrawFaceMesh(io.ComfyNode):
    """Angles, gaze, expression, proportions and place -> the mesh of a face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DenseFace_DrawFaceMesh",
            display_name=NAME,
            category=CATEGORY,
            description="Draws a face by numbers for the MediaPipe-face ControlNet: head pose, "
            "gaze, expression and place, with the proportions of a person's face if one is "
            "connected. For any Stable Diffusion 1.5 checkpoint, through Apply ControlNet.",
            search_aliases=[
                "mediapipe face",
                "controlnet face",
                "face hint",
                "turn head",
                "gaze",
                "eye contact",
                "head pose controlnet",
                "laion face",
                "face landmarks image",
                "look away",
                "eye direction",
                "rotate head",
                "liveportrait",
            ],
            is_output_node=True,
            inputs=[
                file_list(
                    "task_file",
                    LANDMARKER.suffixes,
                    "The face_landmarker .task file in models/dense_face, for its canonical face.",
                ),
                _side("width"),
                _side("height"),
                *map(angle, ANGLES),
                _gaze(
                    YAW,
                    "Degrees, relative to the head; positive looks to the left of the "
                    "image. Added to where the expression looks.",
                ),
                _gaze(
                    PITCH,
                    "Degrees, relative to the head; positive looks up. Added to where the "
                    "expression looks.",
                ),
                _fraction(
                    "x",
                    0.5,
                    "Middle of the face that looks at you, as a fraction of the image's width.",
                ),
                _fraction(
                    "y",
                    0.5,
                    "Middle of the face that looks at you, as a fraction of the image's height.",
                ),
                _fraction(
                    "face_height",
                    0.5,
                    "From hairline to chin of the face that looks at "
                    "you, as a fraction of the image's height.",
                ),
                PoseSocket.Input(
                    "pose",
                    optional=True,
                    tooltip="Head poses instead of the three angles: one, or one for each image, "
                    "as from Head Pose Sweep.",
                ),
                ExpressionSocket.Input(
                    "expression",
                    optional=True,
                    tooltip="What the face does: one, or one for each image, as from Expression "
                    "Travel. At rest without it.",
                ),
                FacesSocket.Input(
                    "person",
                    optional=True,
                    tooltip="A face detected by the landmarker. The drawn one gets its "
                    "proportions, brought to rest and turned to the front first.",
                ),
                FacesSocket.Input(
                    "place",
                    optional=True,
                    tooltip="A detected face whose place and size the drawn one takes, instead of "
                    "x, y and face height.",
                ),
                index_input(),
                scene_input(
                    "Images to show the mesh over in the preview. The drawing has their size "
                    "instead of width and height."
                ),
            ],
            outputs=outputs(faces=True),
        )

    @classmethod
    def validate_inputs(cls, task_file: str | None = None) -> bool | str:
        return found(model_file, LANDMARKER, task_file)

    @classmethod
    def fingerprint_inputs(cls, task_file: str, **_: Any) -> str:
        from ...errors import ModelFileError

        try:
            return file_mark(model_file(LANDMARKER, task_file))
        except ModelFileError:
            return ""  # reported when the node runs

    @classmethod
    def execute(
        cls,
        task_file: str,
        width: int,
        height: int,
        yaw: float,
        pitch: float,
        roll: float,
        gaze_yaw: float,
        gaze_pitch: float,
        x: float,
        y: float,
        face_height: float,
        pose: HeadPoses | None = None,
        expression: Expressions | None = None,
        person: FoundFaces | None = None,
        place: FoundFaces | None = None,
        face_index: int = 0,
        scene: Tensor | None = None,
    ) -> io.NodeOutput:
        from ...faces.face import HeadPose
        from ...faces.mediapipe.task_file import read_geometry
        from ...faces.mesh.eyes import Gaze
        from ...faces.mesh.hint import draw_meshes
        from ...faces.mesh.make import make_face
        from ...faces.mesh.rig import face_rig
        from ..host.execution import steps
        from ..host.memory import require_room

        poses = pose or HeadPoses(((yaw, pitch, roll),))
        scenes = None if scene is None else scenes_of(scene, NAME)
        count = max(len(s) for s in (poses, expression, person, place, scenes) if s is not None)
        size = (width, height)
        people, places = _faces(person, face_index, count), _faces(place, face_index, count)
        if scenes is not None:
            size = scenes.shape[-1], scenes.shape[-2]
        elif places[0] is not None:
            size = places[0].image_size
        require_room(count, size[1], size[0], NAME)
        box = _box(x, y, face_height, size)
        codes = [None] * count if expression is None else expression.for_batch(count, NAME)
        rig = face_rig(read_geometry(model_file(LANDMARKER, task_file)))
        step, made, hints = steps(count), [], []
        for angles, code, who, there in zip(
            poses.for_batch(count, NAME), codes, people, places, strict=True
        ):
            each = make_face(
                rig,
                HeadPose(*angles),
                size,
                there or box,
                values=None if code is None else code.blendshapes(),
                gaze=Gaze(gaze_yaw, gaze_pitch),
                person=who,
            )
            made.append(each)
            hints.append(draw_meshes([each.face.landmarks], size))
            step()
        lines = [each.summary() for each in made]
        image, preview = drawn(hints, scenes, NAME)
        faces = FoundFaces(tuple((each.face,) for each in made))
        return io.NodeOutput(
            image, preview, faces, "\n".join(lines), ui=preview_image(preview, cls)
        )


def _faces(found: FoundFaces | None, index: int, count: int) -> list[Face | None]:
    """The face with this number for each of ``count`` images; None without faces."""
    from ...faces.face import pick

    if found is None:
        return [None] * count
    return [pick(list(faces), index) for faces in found.for_batch(count, NAME)]


def _box(x: float, y: float, face_height: float, size: tuple[int, int]) -> Box:
    """The square of this height around a middle, in pixels."""
    half = face_height * size[1] / 2
    middle = x * size[0], y * size[1]
    return middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half


def _side(name: str) -> Any:
    return io.Int.Input(
        name,
        **between(64, LARGEST_SIDE, step=8, default=512),
        tooltip=f"{name.capitalize()} of the drawing in pixels, as that of your latent.",
    )


def _gaze(name: str, tooltip: str) -> Any:
    return io.Float.Input(
        f"gaze_{name}", **between(-GAZE_LIMIT, GAZE_LIMIT, step=0.5, default=0.0), tooltip=tooltip
    )


def _fraction(name: str, default: float, tooltip: str) -> Any:
    return io.Float.Input(name, **between(0.0, 1.0, step=0.01, default=default), tooltip=tooltip)
