"""Tiny ONNX files that the real insightface takes for its models and runs.

The detector finds bright red squares; the others answer with fixed numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
#: Half the side of a found face, in cells, and its five points, in cells from the anchor.
HALF = 3.0
FIVE = ((-1.0, -1.0), (1.0, -1.0), (0.0, 0.0), (-0.8, 1.0), (0.8, 1.0))


def _save(path: Path, graph: onnx.GraphProto) -> None:
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def _constant(name: str, values: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)


def _whole(name: str, values: list[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype=np.int64), name)


def write_detector(path: Path) -> None:
    """SCRFD's nine outputs: for each stride scores, boxes and points of two anchors a cell."""
    nodes, outputs, constants = [], [], [_whole("column", [-1, 1]), _whole("turn", [0])]
    names: dict[str, list[str]] = {"score": [], "box": [], "points": []}
    # Red minus green minus blue, wholly red = 1 + 1 + 1 in values of about -1..1.
    constants.append(_constant("red", np.array([1, -1, -1]).reshape(1, 3, 1, 1)))
    for stride in STRIDES:
        s = str(stride)
        nodes.append(
            helper.make_node(
                "AveragePool",
                ["image"],
                [f"pool{s}"],
                kernel_shape=[stride] * 2,
                strides=[stride] * 2,
            )
        )
        nodes.append(helper.make_node("Conv", [f"pool{s}", "red"], [f"heat{s}"]))
        # Only the middle stride finds anything, so that a square is one face.
        constants.append(_constant(f"bias{s}", -2.5 if stride == 16 else -1e3))
        constants.append(_constant(f"gain{s}", 20.0))
        nodes.append(helper.make_node("Add", [f"heat{s}", f"bias{s}"], [f"sum{s}"]))
        nodes.append(helper.make_node("Mul", [f"sum{s}", f"gain{s}"], [f"logit{s}"]))
        nodes.append(helper.make_node("Sigmoid", [f"logit{s}"], [f"map{s}"]))
        nodes.append(helper.make_node("Concat", [f"map{s}"] * 2, [f"two{s}"], axis=1))
        nodes.append(helper.make_node("Transpose", [f"two{s}"], [f"last{s}"], perm=[0, 2, 3, 1]))
        nodes.append(helper.make_node("Reshape", [f"last{s}", "column"], [f"score{s}"]))
        names["score"].append(f"score{s}")
        zero = f"zero{s}"
        constants.append(_constant(f"nothing{s}", 0.0))
        nodes.append(helper.make_node("Mul", [f"score{s}", f"nothing{s}"], [zero]))
        for kind, values in (("box", [HALF] * 4), ("points", np.ravel(FIVE).tolist())):
            constants.append(_constant(f"{kind}_values{s}", [values]))
            nodes.append(helper.make_node("Add", [zero, f"{kind}_values{s}"], [f"{kind}{s}"]))
            names[kind].append(f"{kind}{s}")
    for kind, width in (("score", 1), ("box", 4), ("points", 10)):
        for name in names[kind]:
            outputs.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"rows_{name}", width])
            )
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, "height", "width"])
    constants = [c for c in constants if c.name != "turn"]
    _save(path, helper.make_graph(nodes, "detector", [image], outputs, constants))


def _write_pooled(path: Path, size: int, weight: np.ndarray, bias: np.ndarray) -> None:
    """[1, 3, size, size] -> mean colour -> [1, n]."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], ["answer"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])
    answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, len(bias)])
    constants = [_constant("weight", weight), _constant("bias", bias)]
    _save(path, helper.make_graph(nodes, "pooled", [image], [answer], constants))


def write_recogniser(path: Path, seed: int = 0) -> None:
    """ArcFace's form: 112 x 112 -> 512 features that depend on the mean colour."""
    rng = np.random.default_rng(seed)
    _write_pooled(path, 112, rng.normal(size=(3, 512)), rng.normal(size=512))


def write_classifier(path: Path) -> None:
    """Of photographs: 224 x 224 -> 1000 scores."""
    _write_pooled(path, 224, np.ones((3, 1000)), np.zeros(1000))


def write_landmarks(path: Path, mean_shape: np.ndarray) -> None:
    """The 3D landmark model's form: 192 x 192 -> 1103 points, the last 68 the given shape."""
    points = np.zeros((1103, 3), np.float32)
    points[-68:] = mean_shape
    _write_pooled(path, 192, np.zeros((3, 3309)), points.ravel())


def write_yunet(path: Path, side: int | None = None) -> None:
    """YuNet's twelve outputs: for each stride class, objectness, boxes and points of each cell.

    It finds what :func:`write_detector` finds, at the middle of the cell: BGR in 0..255 as input.

    Args:
        side: Of the input as the file states it (2023mar: 640); None: any (2026may).
    """
    nodes, outputs = [], []
    red = np.array([-1, -1, 1]).reshape(1, 3, 1, 1) / 255
    constants = [_constant("red", red), _constant("nothing", 0.0), _constant("gain", 40.0)]
    points = np.ravel(FIVE) + 0.5
    rows = {"bbox": [0.5, 0.5, *np.log([2 * HALF, 2 * HALF])], "kps": points.tolist()}
    constants += [_constant(f"{kind}_values", [[values]]) for kind, values in rows.items()]
    constants.append(_whole("column", [1, -1, 1]))
    for stride in STRIDES:
        s = str(stride)
        # Only the middle stride finds anything, so that a square is one face.
        constants.append(_constant(f"bias_{s}", -0.5 if stride == 16 else -1e3))
        nodes += [
            helper.make_node(
                "AveragePool",
                ["input"],
                [f"pool_{s}"],
                kernel_shape=[stride] * 2,
                strides=[stride] * 2,
            ),
            helper.make_node("Conv", [f"pool_{s}", "red"], [f"heat_{s}"], kernel_shape=[1, 1]),
            helper.make_node("Add", [f"heat_{s}", f"bias_{s}"], [f"sum_{s}"]),
            helper.make_node("Mul", [f"sum_{s}", "gain"], [f"logit_{s}"]),
            helper.make_node("Reshape", [f"logit_{s}", "column"], [f"logits_{s}"]),
            helper.make_node("Sigmoid", [f"logits_{s}"], [f"cls_{s}"]),
            helper.make_node("Sigmoid", [f"logits_{s}"], [f"obj_{s}"]),
            helper.make_node("Mul", [f"cls_{s}", "nothing"], [f"zero_{s}"]),
            helper.make_node("Add", [f"zero_{s}", "bbox_values"], [f"bbox_{s}"]),
            helper.make_node("Add", [f"zero_{s}", "kps_values"], [f"kps_{s}"]),
        ]
    for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            count = f"cells_{stride}" if side is None else (side // stride) ** 2
            shape = [1, count, width]
            name = f"{kind}_{stride}"
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    size = ["height", "width"] if side is None else [side, side]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, *size])
    _save(path, helper.make_graph(nodes, "yunet", [image], outputs, constants))


def write_sface(path: Path, seed: int = 0) -> None:
    """SFace's form: RGB 112 x 112 in 0..255 -> 128 features that depend on the mean colour."""
    rng = np.random.default_rng(seed)
    _write_pooled(path, 112, rng.normal(size=(3, 128)) / 255, rng.normal(size=128))
