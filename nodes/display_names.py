"""Names of inputs as people read them; their ids stay as saved workflows and the API have them."""

from __future__ import annotations

import re
from functools import wraps

from comfy_api.latest import io

NAMES = {
    "adapter_name": "adapter file",
    "bboxes": "boxes",
    "clip_vision": "CLIP vision",
    "end_percent": "ends at",
    "expression_end_percent": "expression ends at",
    "expression_start_percent": "expression starts at",
    "flame_map": "FLAME map",
    "head_name": "annotation head file",
    "identity_end_percent": "identity ends at",
    "identity_start_percent": "identity starts at",
    "insightface_pack": "InsightFace pack",
    "ir_se50_file": "IR-SE50 file",
    "keep_identity_out": "expression without identity",
    "lora_strength": "LoRA strength",
    "on_missing": "if no face is found",
    "one_for": "one mask for",
    "pictures_show": "images show",
    "plus_version": "FaceID-Plus version",
    "pose_file": "6DRepNet file",
    "pose_known": "pose is known",
    "published_start_percent": "published starts at",
    "s_scale": "Plus v2 image scale",
    "sface_file": "SFace file",
    "smirk_file": "SMIRK file",
    "start_percent": "starts at",
    "switch_percent": "switch at",
    "task_file": "landmarker file",
    "yunet_file": "YuNet file",
}
"""Id to name, where the id's own words would not say what it does."""
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def display_name(input_id: str) -> str:
    """As in :data:`NAMES`, else its words: ``face_index`` -> ``face index``."""
    if input_id in NAMES:
        return NAMES[input_id]
    words = _HUMP.sub(" ", input_id).replace("_", " ")
    return words.lower() if words != input_id else words


def named(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The node, whose inputs are now displayed in words."""
    define = node.__dict__["define_schema"].__func__

    @wraps(define)
    def define_schema(cls: type[io.ComfyNode]) -> io.Schema:
        schema = define(cls)
        for item in schema.inputs:
            item.display_name = item.display_name or display_name(item.id)
        return schema

    node.define_schema = classmethod(define_schema)
    return node
