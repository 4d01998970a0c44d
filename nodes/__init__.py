"""The pack's nodes for ComfyUI: thin V3 classes, one file per concern.

Imported by the host only (``comfy_entrypoint`` in the root). A node checks its inputs, calls the
library and returns; everything that depends on the host's internals is in ``host/``. Modules of the
library are imported inside ``execute``, because the host imports every pack when it starts.
"""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .analysis.crops import CropFace, PasteFace
from .analysis.detect import DetectFaces, DrawFaces
from .analysis.faces_from import FacesByHand, FacesFromBoxes, FacesFromLandmarks
from .analysis.identity import EncodeIdentity, IdentityAwayFrom
from .analysis.identity_files import LoadIdentity, SaveIdentity
from .analysis.load_analyzer import AnalyzerFromPack, LoadAnalyzer
from .analysis.load_encoder import LoadEncoder
from .analysis.masks import FaceMask, MaskFaces, PasteMask
from .analysis.measure_change import MeasureChange
from .analysis.measure_face import MeasureExpression, MeasurePose
from .analysis.measure_likeness import MeasureLikeness
from .checked_inputs import checked
from .demo.quick import QuickPortrait
from .demo.tiny_world import LoadTinyAnalyzer, LoadTinyEvaluator, LoadTinyWorld, TinyPortrait
from .dense_face.adapter import ApplyAdapter, EncodePrompt, LoadAdapter
from .dense_face.annotation_views import AnnotationImages, PartMask, SaveAnnotations
from .dense_face.annotations import AnnotateImage, LoadAnnotationHead, SampleAnnotated
from .dense_face.blending import BlendedSampler, Composite
from .dense_face.convert import ConvertRelease
from .dense_face.joint import JointGuider, PredictedJointGuider
from .dense_face.pose import PoseFromAngles, PoseFromFaces, PoseFromImage, PoseSweep
from .dense_face.train import SaveAdapter, TrainAdapter
from .display_names import named
from .host.folders import register_folders
from .host.head_images import add_routes
from .host.missing_files import remember_queued_graphs
from .host.served_files import add_file_routes
from .mesh.draw_face_mesh import DrawFaceMesh
from .mesh.face_mesh_of_faces import FaceMeshOfFaces
from .sfsr.apply import ApplySFSR
from .sfsr.arc2face import EncodeArc2Face
from .sfsr.arc2face_reference import ApplyArc2FaceReference
from .sfsr.background import Background
from .sfsr.expression_algebra import (
    BlendExpressions,
    CombineExpressions,
    ExpressionTravel,
    MirrorExpression,
)
from .sfsr.expression_files import LoadExpression, SaveExpression
from .sfsr.expression_flame import ExpressionFromFLAME
from .sfsr.expression_image import ExpressionFromImage, ExpressionOfFaces
from .sfsr.expression_preview import PreviewExpression
from .sfsr.expression_sliders import ExpressionFromSliders
from .sfsr.expression_word import ExpressionFromExemplars, ExpressionFromWord
from .sfsr.guider import SplitGuidance
from .sfsr.load_adapter import LoadSFSRAdapter
from .sfsr.load_smirk import LoadSMIRK
from .sfsr.midpoint import MidpointSampler

NODES: list[type[io.ComfyNode]] = [checked(named(node)) for node in [
    LoadAdapter, ApplyAdapter, EncodePrompt, PoseFromAngles, PoseSweep, PoseFromImage,
    BlendedSampler, Composite, JointGuider, EncodeIdentity, IdentityAwayFrom, FaceMask, PasteMask,
    LoadTinyWorld, LoadTinyAnalyzer, TinyPortrait, QuickPortrait, LoadAnalyzer, LoadEncoder,
    AnalyzerFromPack, FacesByHand, FacesFromLandmarks, FacesFromBoxes, PoseFromFaces, SaveIdentity,
    LoadIdentity, LoadAnnotationHead, AnnotateImage, SampleAnnotated, AnnotationImages, PartMask,
    SaveAnnotations, PredictedJointGuider, DetectFaces, CropFace, PasteFace, MaskFaces, DrawFaces,
    MeasureLikeness, MeasurePose, MeasureExpression, MeasureChange, LoadTinyEvaluator,
    ExpressionFromWord, ExpressionFromSliders, ExpressionFromImage, ExpressionOfFaces,
    ExpressionFromExemplars, BlendExpressions, ExpressionTravel, MirrorExpression,
    CombineExpressions, PreviewExpression, MidpointSampler, LoadSFSRAdapter, ApplySFSR,
    SplitGuidance, Background, DrawFaceMesh, FaceMeshOfFaces, ExpressionFromFLAME,
    EncodeArc2Face, ApplyArc2FaceReference, LoadSMIRK, SaveExpression, LoadExpression,
    ConvertRelease, TrainAdapter, SaveAdapter,
]]  # fmt: skip


class FacePack(ComfyExtension):
    """The extension that the host loads: model folders and nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes of the pack."""
        register_folders()
        add_routes()
        add_file_routes()
        remember_queued_graphs()
        return NODES
