"""``SMIRK_em1.pt`` with random weights: its expression encoder, and a weight of each other part."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from comfyui_dense_face.faces.encoders.smirk import PREFIX, SmirkEncoder
from torch import Tensor, nn


@cache
def random_smirk(seed: int = 0) -> SmirkEncoder:
    """An encoder whose outputs differ between faces and are about as large as SMIRK's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = SmirkEncoder()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.8, 1.2)
                nn.init.normal_(module.bias, 0, 0.1)
                for statistic, mean in ((module.running_var, 1.0), (module.running_mean, 0.0)):
                    if statistic is not None:
                        nn.init.trunc_normal_(statistic, mean, 0.1, mean - 0.4, mean + 0.4)
        nn.init.normal_(net.expression_layers[0].weight, 0, 0.001)
    return net.eval().requires_grad_(False)


def smirk_tensors(net: SmirkEncoder | None = None) -> dict[str, Tensor]:
    """The flat table of the file."""
    own = (net or random_smirk()).state_dict()
    return {
        **{PREFIX + name: tensor for name, tensor in own.items()},
        "smirk_encoder.pose_encoder.pose_cam_layers.0.weight": torch.zeros(6, 576),
        "smirk_encoder.shape_encoder.shape_layers.0.weight": torch.zeros(300, 960),
        "smirk_generator.encoder1.enc1conv1.weight": torch.zeros(64, 6, 3, 3),
    }


def write_smirk(path: Path, net: SmirkEncoder | None = None) -> Path:
    """Write the file; returns its path."""
    torch.save(smirk_tensors(net), path)
    return path
