"""All files of the tiny world for tests: the bundled ones, or stand-ins with random weights."""

from __future__ import annotations

from pathlib import Path

import torch
from comfyui_dense_face.demo.bundled import WEIGHTS
from comfyui_dense_face.demo.networks.evaluator import TinyEvaluator
from comfyui_dense_face.storage import read_weights, write_weights
from tiny_random import write_world

NAMES = ("tiny_base", "tiny_dense_face", "tiny_analyzer", "tiny_evaluator")


def world(folder: Path) -> Path:
    """The bundled folder where it is complete, else ``folder`` filled with random weights."""
    if all((WEIGHTS / f"{name}.safetensors").is_file() for name in NAMES):
        return WEIGHTS
    write_world(folder)
    head = folder / "tiny_analyzer.safetensors"
    tensors, metadata = read_weights(head)
    # A head in every image, all over it: the last map of the part head.
    tensors["part_out.1.weight"][-1], tensors["part_out.1.bias"][-1] = 0, 5
    write_weights(head, tensors, metadata)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        evaluator = TinyEvaluator().eval()
    write_weights(folder / "tiny_evaluator.safetensors", evaluator.state_dict(), {})
    return folder


def linked_world(source: Path, folder: Path) -> Path:
    """A folder with links to the files of a world, to be changed one by one."""
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.safetensors").symlink_to(source / f"{name}.safetensors")
    return folder


def blind_world(source: Path, folder: Path) -> Path:
    """A world whose analyzer sees neither faces nor heads."""
    linked_world(source, folder)
    path = folder / "tiny_analyzer.safetensors"
    tensors, metadata = read_weights(path)
    path.unlink()
    tensors["face.weight"][:], tensors["face.bias"][:] = 0, -5
    tensors["part_out.1.weight"][-1], tensors["part_out.1.bias"][-1] = 0, -5
    write_weights(path, tensors, metadata)
    return folder
