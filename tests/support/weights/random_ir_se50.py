"""A file of the form of the published IR-SE50, with random weights: it recognises nobody."""

from __future__ import annotations

from pathlib import Path

import torch
from comfyui_dense_face.faces.encoders.ir_se50 import IRSE50
from comfyui_dense_face.storage import write_weights
from torch import nn


def randomised(net: nn.Module) -> nn.Module:
    """Values at which every weight and buffer matters."""
    torch.manual_seed(3)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            fan_in = max(1, tensor[0].numel())
            if tensor.ndim > 1:
                tensor.normal_(std=fan_in**-0.5)
            elif name.endswith("running_mean") or name.endswith("bias"):
                tensor.normal_(std=0.1)
            else:
                tensor.uniform_(0.5, 1.5)
    return net.eval()


def write_random_ir_se50(path: Path) -> None:
    """Write the file, 175 MB."""
    with torch.random.fork_rng(devices=[]):
        write_weights(path, randomised(IRSE50()).state_dict(), {})
