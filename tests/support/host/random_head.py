"""An annotation head of random weights, as a node of ours would hand it on."""

from __future__ import annotations

from typing import Any

import torch
from in_host import Tiny

TINY_WIDTHS = (128, 64)


def random_head(tiny: Tiny, widths: tuple[int, ...] = TINY_WIDTHS) -> Any:
    """DENSEFACE_ANNOTATION_HEAD for a UNet of these widths, the tiny one's by default."""
    module = tiny.module("dense_face.annotation.head")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        net = module.AnnotationHead(module.HeadConfig(widths, 32, 4, "ibug"))
    patcher = tiny.module("nodes.host.memory").managed(net)
    return tiny.module("nodes.sockets").LoadedHead("random", patcher)
