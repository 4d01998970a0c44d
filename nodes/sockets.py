"""The pack's own socket types, and the values that they carry.

Values are frozen, live on the CPU and carry the name of the encoder that made them, so that a
mismatch raises an error instead of giving a wrong image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from comfy_api.latest import io

from ..errors import IncompatibleError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from ..dense_face.annotation.annotations import Annotations
    from ..dense_face.fused import FusedAdapter
    from ..dense_face.identity_token import IdentityToken
    from ..faces.analyzers import FaceAnalyzer, Recogniser
    from ..faces.crops.crop import CropPlace
    from ..faces.face import Face
    from ..faces.identity import Identity
    from ..faces.masks.mask_reader import MaskReader
    from ..sfsr.expression import Expression
    from .host.runtime import SiteDelta

T = TypeVar("T")

AdapterSocket = io.Custom("DENSEFACE_ADAPTER")
IdentitySocket = io.Custom("DENSEFACE_IDENTITY")
PoseSocket = io.Custom("DENSEFACE_POSE")
AnalyzerSocket = io.Custom("DENSEFACE_ANALYZER")
AnnotationHeadSocket = io.Custom("DENSEFACE_ANNOTATION_HEAD")
AnnotationsSocket = io.Custom("DENSEFACE_ANNOTATIONS")
FacesSocket = io.Custom("DENSEFACE_FACES")
ExpressionSocket = io.Custom("SFSR_EXPRESSION")


@dataclass(frozen=True, eq=False)
class LoadedAdapter:
    """DENSEFACE_ADAPTER: a Dense-Face adapter without its pose branch.

    name: The file's name, for messages.
    encoder: The face encoder that it was trained with; empty if the file does not say.
    """

    name: str
    fused: FusedAdapter
    token: IdentityToken | None
    encoder: str

    @cached_property
    def deltas(self) -> Mapping[tuple[str, str], SiteDelta]:
        """The run-time form, built at first use and kept with the adapter."""
        from .host.runtime import build_deltas

        return build_deltas(self.fused.weights)

    def vectors(self, people: People) -> Tensor:
        """The identities [N, D] for this adapter.

        Raises:
            IncompatibleError: They come from another encoder, or D is not the adapter's width.
        """
        if self.encoder:
            for identity in people.identities:
                identity.require(self.encoder)
        vectors = people.vectors
        width = next((m.shape[1] for m in self.fused.bias_matrices.values()), vectors.shape[1])
        if vectors.shape[1] != width:
            raise IncompatibleError(
                f"the identity has {vectors.shape[1]} numbers, the adapter needs {width}",
                where=self.name,
                fix="Measure the reference images with the adapter's own encoder",
            )
        return vectors

    def biases(self, people: People) -> Mapping[str, Tensor]:
        """Block -> query biases [N, C] at weight 1, computed once for each DENSEFACE_IDENTITY.

        Raises:
            IncompatibleError: As :meth:`vectors`.
        """
        if people not in self._known_biases:
            self._known_biases[people] = self.fused.query_bias(self.vectors(people))
        return self._known_biases[people]

    @cached_property
    def _known_biases(self) -> WeakKeyDictionary[People, Mapping[str, Tensor]]:
        return WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class People:
    """DENSEFACE_IDENTITY: one identity for a whole batch, or one for each of its images.

    photos: Of each identity the single images that it is the mean of; the identity itself when
        left out.
    clip_states: Of each identity the penultimate CLIP vision states [F, T, K] of its F reference
        images, cut out at 224 px; None where no CLIP vision was connected.
    clip_absent: Those [1, T, K] of an image whose normalised pixels are zero.
    """

    identities: tuple[Identity, ...]
    photos: tuple[tuple[Identity, ...], ...] | None = None
    clip_states: tuple[Tensor, ...] | None = None
    clip_absent: Tensor | None = None

    @property
    def references(self) -> tuple[tuple[Identity, ...], ...]:
        """Of each identity its single images."""
        return self.photos or tuple((one,) for one in self.identities)

    @property
    def vectors(self) -> Tensor:
        """[N, D]."""
        import torch

        return torch.stack([identity.vector for identity in self.identities])


@dataclass(frozen=True)
class HeadPoses:
    """DENSEFACE_POSE: (yaw, pitch, roll) in degrees for each image, as in docs/conventions.md."""

    angles: tuple[tuple[float, float, float], ...]

    def __len__(self) -> int:
        return len(self.angles)

    def for_batch(self, count: int, where: str) -> tuple[tuple[float, float, float], ...]:
        """The angles of ``count`` images; a single pose is used for all.

        Raises:
            InputError: There is neither one nor ``count`` of them.
        """
        return _for_batch(self.angles, count, "head poses", where)


@dataclass(frozen=True, eq=False)
class LoadedAnalyzer:
    """DENSEFACE_ANALYZER: finds faces, identifies them and reads masks off images.

    Find faces with ``faces.analyzers.find_faces``, which checks the image first.

    patcher: The host's handle of the tiny world's network; None for analyzers of photographs.
    encoder: Name of the encoder that makes its identities; empty if it makes none.
    finder: Finds faces; None for the tiny world's network.
    recogniser: Encodes identities; None if the finder does so itself.
    locates: Whether it finds out where a face is; 6DRepNet takes the whole image for one.
    """

    patcher: Any
    encoder: str
    finder: FaceAnalyzer | None = None
    recogniser: Recogniser | None = None
    locates: bool = True

    @property
    def name(self) -> str:
        """Its name in results and errors."""
        return self.encoder if self.finder is None else self.finder.name

    def find(self, image: Tensor) -> list[Face]:
        """All faces in an image [3, H, W] in 0..1; an empty list if there is none."""
        if self.finder is not None:
            return self.finder.find(image)
        from .host.tiny.analyzer import find_tiny

        return find_tiny(self.patcher, image)

    def masks(self, where: str, on_image: Callable[[], None] = lambda: None) -> MaskReader:
        """The reader of head and face masks; it calls ``on_image`` after every image.

        Raises:
            IncompatibleError: This analyzer makes no masks; ``where`` names the node.
        """
        if self.finder is None:
            from .host.tiny.analyzer import TinyMasks

            return TinyMasks(self.patcher, on_image)
        if not self.locates:
            raise IncompatibleError(
                f"the analyzer {self.name} only estimates head poses and makes no masks",
                where=where,
                fix="Load another analyzer in Load Face Analyzer, such as the landmarker",
            )
        from ..faces.masks.mask_reader import LandmarkMasks

        return LandmarkMasks(self.finder, on_image)

    def identity(self, image: Tensor, face: Face) -> Identity:
        """The identity of a face detected in an image [3, H, W] in 0..1.

        Raises:
            IncompatibleError: This analyzer makes no identities, or another one made the face's.
            InputError: The face has no landmarks, or was detected in another image.
        """
        if self.recogniser is not None:
            return self.recogniser.identify(image, face)
        if face.identity is None:
            raise IncompatibleError(
                "this face comes without an identity, and no encoder was chosen",
                where=face.source,
                fix="Put Load Face Encoder between the analyzer and this node",
            )
        from ..faces.encoders.names import same_encoder

        if self.encoder and not same_encoder(face.identity.encoder, self.encoder):
            raise IncompatibleError(
                f"these faces were encoded by {face.identity.encoder!r}, "
                f"the analyzer encodes by {self.encoder!r}",
                where=face.source,
                fix="Find the faces with the analyzer that is connected here",
            )
        return face.identity


@dataclass(frozen=True, eq=False)
class FoundFaces:
    """DENSEFACE_FACES: the chosen faces in each image of a batch, in their order.

    An image without a face keeps its place with an empty tuple.

    numbers: The number of each face, counted before filtering; from 0 if None.
    places: Where each face was cropped; None before Crop Face.
    """

    images: tuple[tuple[Face, ...], ...]
    numbers: tuple[tuple[int, ...], ...] | None = None
    places: tuple[tuple[CropPlace, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def for_batch(self, count: int, where: str) -> tuple[tuple[Face, ...], ...]:
        """The faces of each of ``count`` images; those of a single image are used for all.

        Raises:
            InputError: The faces belong to another number of images.
        """
        if len(self.images) == count:
            return self.images
        if len(self.images) == 1:
            return self.images * count
        raise InputError(
            f"the faces are those of {len(self.images)} images, the batch has {count}",
            where=where,
            fix="Connect the images that the faces were detected in",
        )

    def numbered(self, count: int) -> tuple[tuple[int, ...], ...]:
        """The numbers of the faces in each of ``count`` images."""
        numbers = self.numbers or tuple(tuple(range(len(faces))) for faces in self.images)
        return numbers if len(numbers) == count else numbers * count

    def require_places(self, where: str) -> tuple[tuple[CropPlace, ...], ...]:
        """Where the faces were cropped; raises InputError if they were not."""
        if self.places is None:
            raise InputError(
                "these faces were not cropped",
                where=where,
                fix="Connect the faces output of Crop Face",
            )
        return self.places


@dataclass(frozen=True, eq=False)
class LoadedHead:
    """DENSEFACE_ANNOTATION_HEAD: an annotation head under the host's memory management.

    name: The file's name, for messages.
    patcher: The host's handle; its ``model`` is the network.
    """

    name: str
    patcher: Any


@dataclass(frozen=True, eq=False)
class ImageAnnotations:
    """DENSEFACE_ANNOTATIONS: depth, parts and landmarks of each image of a batch.

    image_size: Width and height of the images in pixels; the maps are smaller.
    """

    seen: Annotations
    image_size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Expressions:
    """SFSR_EXPRESSION: one expression for a whole batch, or one for each of its images."""

    codes: tuple[Expression, ...]

    def __len__(self) -> int:
        return len(self.codes)

    def for_batch(self, count: int, where: str) -> tuple[Expression, ...]:
        """The expressions of ``count`` images; a single one is used for all.

        Raises:
            InputError: There is neither one nor ``count`` of them.
        """
        return _for_batch(self.codes, count, "expressions", where)


def _for_batch(values: tuple[T, ...], count: int, what: str, where: str) -> tuple[T, ...]:
    """One value for all of ``count`` images, or one for each."""
    if len(values) not in (1, count):
        raise InputError(
            f"{len(values)} {what} were given for {count}",
            where=where,
            fix="Give one for all, or exactly one for each",
        )
    return values if len(values) == count else values * count
