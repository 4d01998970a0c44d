"""Everyday words lead to the nodes that do the job, as the host's search box looks for them."""

from __future__ import annotations

from typing import Any

import pytest

LEADS_TO = {
    "adetailer": {"DenseFace_CropFace"},
    "angry": {"SFSR_ExpressionFromWord"},
    "animate face": {"SFSR_ExpressionTravel"},
    "avatar": {"DenseFace_TinyPortrait", "DenseFace_QuickPortrait"},
    "average faces": {"DenseFace_EncodeIdentity"},
    "before after": {"DenseFace_MeasureChange"},
    "blink": {"SFSR_ExpressionFromSliders"},
    "character sheet": {"DenseFace_PoseSweep"},
    "choose face": {"DenseFace_DetectFaces"},
    "close eyes": {"SFSR_ExpressionFromSliders"},
    "compare faces": {"DenseFace_MeasureLikeness"},
    "consistent character": {"DenseFace_ApplyAdapter", "DenseFace_EncodeIdentity"},
    "cry": {"SFSR_ExpressionFromWord"},
    "depth map": {"DenseFace_AnnotatePicture"},
    "expression editor": {"SFSR_ExpressionFromSliders"},
    "eye direction": {"DenseFace_DrawFaceMesh"},
    "face detailer": {"DenseFace_CropFace"},
    "face mask": {"DenseFace_MaskFaces", "DenseFace_FaceMask"},
    "face swap": {"SFSR_Apply", "SFSR_Background", "DenseFace_PasteFace"},
    "faceswap": {"SFSR_Apply", "DenseFace_PasteFace"},
    "first image": {"DenseFace_QuickPortrait"},
    "gaze": {"DenseFace_DrawFaceMesh"},
    "grin": {"SFSR_ExpressionFromWord"},
    "group photo": {"DenseFace_DetectFaces"},
    "happy": {"SFSR_ExpressionFromWord"},
    "head pose": {"DenseFace_PoseFromAngles", "DenseFace_PoseFromPicture"},
    "head tilt": {"DenseFace_PoseFromAngles"},
    "headshot": {"DenseFace_EncodeIdentity", "SFSR_Apply", "DenseFace_QuickPortrait"},
    "identity": {"DenseFace_EncodeIdentity", "DenseFace_LoadIdentity"},
    "inpaint face": {"SFSR_Background"},
    "insightface": {"DenseFace_LoadAnalyzer", "DenseFace_AnalyzerFromPack"},
    "instantid": {"DenseFace_ApplyAdapter", "SFSR_Apply"},
    "ip-adapter": {"SFSR_Apply", "SFSR_LoadAdapter", "DenseFace_ApplyAdapter"},
    "ipadapter": {"SFSR_Apply", "SFSR_LoadAdapter", "DenseFace_ApplyAdapter"},
    "keep background": {"SFSR_Background", "DenseFace_Composite"},
    "laugh": {"SFSR_ExpressionFromWord"},
    "likeness": {"DenseFace_ApplyAdapter", "DenseFace_MeasureLikeness"},
    "live portrait": {"SFSR_ExpressionFromSliders"},
    "liveportrait": {"SFSR_ExpressionFromSliders", "DenseFace_DrawFaceMesh"},
    "look up": {"DenseFace_PoseFromAngles", "SFSR_ExpressionFromSliders"},
    "mediapipe": {"DenseFace_LoadAnalyzer", "DenseFace_DrawFaceMesh"},
    "mood": {"SFSR_ExpressionFromWord"},
    "morph": {"SFSR_ExpressionTravel"},
    "nod": {"DenseFace_PoseFromAngles"},
    "open mouth": {"SFSR_ExpressionFromSliders"},
    "photo face": {"DenseFace_EncodeIdentity", "DenseFace_DetectFaces", "SFSR_Apply"},
    "photomaker": {"DenseFace_ApplyAdapter", "DenseFace_EncodeIdentity"},
    "portrait": {"DenseFace_TinyPortrait", "DenseFace_QuickPortrait"},
    "pulid": {"DenseFace_ApplyAdapter", "SFSR_Apply"},
    "random face": {"DenseFace_TinyPortrait"},
    "reactor": {"SFSR_Apply", "DenseFace_PasteFace", "DenseFace_EncodeIdentity"},
    "roop": {"SFSR_Apply"},
    "rotate head": {"DenseFace_PoseFromAngles", "DenseFace_DrawFaceMesh"},
    "sad": {"SFSR_ExpressionFromWord"},
    "same person": {"DenseFace_ApplyAdapter"},
    "save face": {"DenseFace_SaveIdentity"},
    "scared": {"SFSR_ExpressionFromWord"},
    "segment face": {"DenseFace_FaceMask"},
    "selfie": {"DenseFace_EncodeIdentity"},
    "side view": {"DenseFace_PoseFromAngles"},
    "smile": {"SFSR_ExpressionFromWord", "SFSR_ExpressionFromSliders"},
    "swap": {"SFSR_Apply", "SFSR_Background", "DenseFace_PasteFace", "DenseFace_Composite"},
    "turn head": {"DenseFace_PoseFromAngles", "DenseFace_DrawFaceMesh"},
    "wink": {"SFSR_ExpressionFromSliders"},
}
FEWEST = 3


@pytest.mark.parametrize("word", LEADS_TO)
def test_a_word_leads_to_its_nodes(schemas: dict[str, Any], word: str) -> None:
    found = {
        name
        for name, schema in schemas.items()
        if any(word in each.lower() for each in (schema.display_name, *schema.search_aliases))
    }
    assert LEADS_TO[word] - found == set()


def test_every_node_has_several_and_each_once(schemas: dict[str, Any]) -> None:
    for name, schema in schemas.items():
        assert len(schema.search_aliases) >= FEWEST, name
        assert len(set(schema.search_aliases)) == len(schema.search_aliases), name
        assert schema.display_name.lower() not in schema.search_aliases, name
