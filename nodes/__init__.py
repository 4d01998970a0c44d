"""The pack's nodes for ComfyUI: thin V3 classes, one file a concern.

Imported by the host only (``comfy_entrypoint`` in the root). Each node checks, calls the library
and returns; whatever knows the host's internals is in ``host/``. The files here import the library
inside ``execute``: the host loads every pack at its start and counts the time.
"""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .adapter import ApplyAdapter, EncodePrompt, LoadAdapter
from .analysis import FaceMask
from .annotation_views import AnnotationPictures, PartMask, SaveAnnotations
from .annotations import AnnotatePicture, LoadAnnotationHead, SampleAnnotated
from .blending import BlendedSampler, Composite
from .crops import CropFace, PasteFace
from .detect import DetectFaces
from .expression_algebra import (
    BlendExpressions,
    CombineExpressions,
    ExpressionTravel,
    MirrorExpression,
)
from .expression_picture import ExpressionFromPicture, ExpressionOfFaces
from .expression_preview import PreviewExpression
from .expression_sliders import ExpressionFromSliders
from .expression_word import ExpressionFromExemplars, ExpressionFromWord
from .face_pictures import DrawFaces, MaskFaces
from .faces_from import FacesByHand, FacesFromBoxes, FacesFromLandmarks
from .head_swap import PasteMask
from .host.folders import register_folders
from .identity import EncodeIdentity, LoadIdentity, SaveIdentity
from .identity_algebra import IdentityAwayFrom
from .joint import JointGuider
from .load_analyzer import AnalyzerFromPack, LoadAnalyzer
from .load_encoder import LoadEncoder
from .measure_change import MeasureChange
from .measure_face import MeasureExpression, MeasurePose
from .measure_likeness import MeasureLikeness
from .midpoint import MidpointSampler
from .pose import PoseFromAngles, PoseFromFaces, PoseFromPicture, PoseSweep
from .predicted_joint import PredictedJointGuider
from .quick import QuickPortrait
from .sfsr_adapter import ApplySFSR, LoadSFSRAdapter
from .sfsr_background import Background
from .sfsr_guider import SplitGuidance
from .tiny_judge import LoadTinyJudge
from .tiny_world import LoadTinyAnalyzer, LoadTinyWorld, TinyPortrait

NODES: list[type[io.ComfyNode]] = [
    LoadAdapter,
    ApplyAdapter,
    EncodePrompt,
    PoseFromAngles,
    PoseSweep,
    PoseFromPicture,
    BlendedSampler,
    Composite,
    JointGuider,
    EncodeIdentity,
    IdentityAwayFrom,
    FaceMask,
    PasteMask,
    LoadTinyWorld,
    LoadTinyAnalyzer,
    TinyPortrait,
    QuickPortrait,
    LoadAnalyzer,
    LoadEncoder,
    AnalyzerFromPack,
    FacesByHand,
    FacesFromLandmarks,
    FacesFromBoxes,
    PoseFromFaces,
    SaveIdentity,
    LoadIdentity,
    LoadAnnotationHead,
    AnnotatePicture,
    SampleAnnotated,
    AnnotationPictures,
    PartMask,
    SaveAnnotations,
    PredictedJointGuider,
    DetectFaces,
    CropFace,
    PasteFace,
    MaskFaces,
    DrawFaces,
    MeasureLikeness,
    MeasurePose,
    MeasureExpression,
    MeasureChange,
    LoadTinyJudge,
    ExpressionFromWord,
    ExpressionFromSliders,
    ExpressionFromPicture,
    ExpressionOfFaces,
    ExpressionFromExemplars,
    BlendExpressions,
    ExpressionTravel,
    MirrorExpression,
    CombineExpressions,
    PreviewExpression,
    MidpointSampler,
    LoadSFSRAdapter,
    ApplySFSR,
    SplitGuidance,
    Background,
]


class FacePack(ComfyExtension):
    """What the host gets: our model folders and our nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes of the pack."""
        register_folders()
        return NODES
