"""Node schemas as plain data: what saved workflows depend on, and what the frontend shows."""

from __future__ import annotations

from typing import Any

#: Lists of files differ from machine to machine.
FILE_LISTS = {
    ("DenseFace_ConvertRelease", "checkpoint"),
    ("DenseFace_LoadAdapter", "adapter_name"),
    ("DenseFace_LoadAnalyzer", "task_file"),
    ("DenseFace_LoadAnalyzer", "insightface_pack"),
    ("DenseFace_LoadAnalyzer", "pose_file"),
    ("DenseFace_LoadAnalyzer", "yunet_file"),
    ("DenseFace_LoadEncoder", "ir_se50_file"),
    ("DenseFace_LoadEncoder", "insightface_pack"),
    ("DenseFace_LoadEncoder", "sface_file"),
    ("DenseFace_LoadIdentity", "file"),
    ("SFSR_ApplyArc2FaceReference", "adapter_name"),
    ("SFSR_ExpressionFromFLAME", "flame_map"),
    ("SFSR_LoadAdapter", "adapter_name"),
    ("SFSR_LoadExpression", "file"),
    ("SFSR_LoadSMIRK", "smirk_file"),
}
KEPT = ("default", "min", "max", "step", "options", "multiline", "control_after_generate")


def frozen_parts(schema: Any) -> dict[str, Any]:
    """What saved workflows depend on: ids, order, types, defaults."""
    return {
        "category": schema.category,
        "inputs": [_input(schema.node_id, item) for item in schema.inputs],
        "outputs": [
            {"id": item.id, "name": item.display_name, "type": item.io_type}
            for item in schema.outputs
        ],
        "output_node": bool(schema.is_output_node),
    }


def _input(node_id: str, item: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"id": item.id, "type": item.io_type, "optional": bool(item.optional)}
    for name in KEPT:
        value = getattr(item, name, None)
        if value is not None and not (name == "options" and (node_id, item.id) in FILE_LISTS):
            found[name] = value
    return found


def locale_entry(schema: Any) -> dict[str, Any]:
    """The node's entry in ``locales/<language>/nodeDefs.json``."""
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {
            item.id: {"name": item.display_name, "tooltip": item.tooltip} for item in schema.inputs
        },
        "outputs": {
            str(i): {"name": item.display_name, "tooltip": item.tooltip}
            for i, item in enumerate(schema.outputs)
        },
    }
