"""Files for ``denseface express`` and ``generate`` with a base of one's own, and calling them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
import torch
from comfyui_dense_face import cli
from comfyui_dense_face.faces.identity import Identity
from comfyui_dense_face.faces.identity_file import save_identities
from comfyui_dense_face.pipelines.base import (
    TINY_UNET,
    new_text_encoder,
    new_unet,
    new_vae,
    save_base,
)
from comfyui_dense_face.pipelines.images import open_rgb, tensor_of, to_pil
from comfyui_dense_face.pipelines.ldm import unet_ldm_name
from comfyui_dense_face.pipelines.real import pipeline
from diffusers import ControlNetModel
from random_published import published_tensors, small_target
from safetensors.torch import save_file
from tiny_random import write_adapter, write_base, write_sfsr

ENCODER = "insightface/w600k_r50"


def write_files(folder: Path) -> Path:
    """Bases, adapters, identities, a scene of 300 x 240 px and a mask in it."""
    write_base(folder / "base.safetensors")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        nine = new_unet(replace(TINY_UNET, in_channels=9))
        parts = nine, new_vae(), new_text_encoder()
        save_base(folder / "inpainting.safetensors", *parts, {})
    kinds: dict[str, dict[str, Any]] = {
        "FACEID": {"rank": 2},
        "FINEFACE": {},
        "PORTRAIT": {"tokens": 16},
        "PLUS": {},
    }
    for kind, sizes in kinds.items():
        torch.save(published_tensors(kind, scale=0.1, **sizes), folder / f"{kind.lower()}.bin")
    write_sfsr(folder / "sfsr.safetensors")
    write_adapter(folder / "dense.safetensors")
    unit = torch.nn.functional.normalize(torch.ones(512), dim=0)
    save_identities(folder / "person.safetensors", [Identity(unit, ENCODER)])
    save_identities(folder / "stranger.safetensors", [Identity(unit, "insightface/glintr100")])
    save_identities(folder / "tiny.safetensors", [Identity(unit, "tiny-world")])
    chance = torch.Generator().manual_seed(1)
    small = torch.rand(1, 3, 15, 19, generator=chance)
    to_pil(torch.nn.functional.interpolate(small, (240, 300))).save(folder / "scene.png")
    mask = torch.zeros(1, 3, 240, 300)
    mask[..., 80:160, 110:180] = 1
    to_pil(mask).save(folder / "mask.png")
    other = target_of_other_base()
    torch.save(published_tensors("FACEID", target=other), folder / "other.bin")
    return folder


VIT_H = {"width": 1280, "layers": 32, "patch": 14, "inner": 5120, "projection": 1024}
"""Sizes of CLIP vision ViT-H/14."""


def write_clip_vision(
    path: Path,
    width: int = 160,
    layers: int = 3,
    patch: int = 56,
    inner: int = 320,
    projection: int = 32,
) -> Path:
    """An image encoder like ViT-H/14, small by default, in the naming of transformers."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=width // 80 if width % 80 == 0 else 16,
        image_size=224,
        patch_size=patch,
        projection_dim=projection,
        hidden_act="gelu",
    )
    with torch.device("meta"):
        network = CLIPVisionModelWithProjection(config)
    chance = torch.Generator().manual_seed(2)
    weights = {
        name: (0.1 * torch.randn(tensor.shape, generator=chance)).half()
        for name, tensor in network.state_dict().items()
    }
    save_file(weights, path)
    return path


def write_photos(folder: Path) -> None:
    """Photos of one person, and an InsightFace pack that finds that person by a red square."""
    from insightface.data import get_object
    from tiny_onnx import write_detector, write_landmarks, write_recogniser

    pack = folder / "buffalo"
    pack.mkdir(exist_ok=True)
    write_detector(pack / "det_10g.onnx")
    write_recogniser(pack / "w600k_r50.onnx")
    write_landmarks(pack / "1k3d68.onnx", cast("Any", get_object("meanshape_68.pkl")))
    chance = torch.Generator().manual_seed(8)
    for name, (x, y) in {"photo.png": (128, 144), "other_photo.png": (160, 128)}.items():
        small = 0.4 + 0.2 * torch.rand(1, 3, 20, 20, generator=chance)
        image = torch.nn.functional.interpolate(small, (320, 320))
        image[0, :, y : y + 16, x : x + 16] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
        to_pil(image).save(folder / name)


def write_controlnets(folder: Path) -> ControlNetModel:
    """An ordinary ControlNet of the small base in both namings; returns the network itself."""
    sizes = TINY_UNET.diffusers_kwargs()
    for name in ("sample_size", "in_channels", "out_channels", "up_block_types"):
        sizes.pop(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        network = ControlNetModel(**sizes, conditioning_embedding_out_channels=(8, 16, 16, 32))
    chance = torch.Generator().manual_seed(10)
    for name, parameter in network.named_parameters():
        if name.startswith("controlnet_"):  # zero at first
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=chance))
    weights = network.state_dict()
    save_file(weights, folder / "control.safetensors")
    config = TINY_UNET.diffusers_kwargs()
    original = {f"control_model.{_original(name, config)}": t for name, t in weights.items()}
    torch.save(original, folder / "control.pth")
    for name, width in (("control_sd2", 1024), ("control_sdxl", 2048)):
        wide = {
            n: torch.zeros(8, width) if n.endswith("attn2.to_k.weight") else t
            for n, t in weights.items()
        }
        save_file(wide, folder / f"{name}.safetensors")
    return network.eval().requires_grad_(False)


def _original(name: str, config: dict[str, Any]) -> str:
    """The name of a ControlNet's weight in the original layout."""
    module, _, kind = name.rpartition(".")
    match module.split("."):
        case ["controlnet_cond_embedding", "conv_in"]:
            return f"input_hint_block.0.{kind}"
        case ["controlnet_cond_embedding", "blocks", number]:
            return f"input_hint_block.{2 * int(number) + 2}.{kind}"
        case ["controlnet_cond_embedding", "conv_out"]:
            return f"input_hint_block.14.{kind}"
        case ["controlnet_down_blocks", number]:
            return f"zero_convs.{number}.0.{kind}"
        case ["controlnet_mid_block"]:
            return f"middle_block_out.0.{kind}"
    return unet_ldm_name(name, config)


def target_of_other_base() -> Any:
    target = small_target()
    return replace(target, layers={"input_blocks.1": 32, "middle_block": 64})


class Command:
    """Calls ``denseface``; options that name one of the files may leave out its folder.

    True is an option without a value, a tuple one with several, a list one given several times.
    """

    def __init__(self, files: Path, out: Path) -> None:
        self.files, self.out = files, out

    def __call__(self, command: str, **options: Any) -> int:
        usual: dict[str, Any] = {"out": self.out, "steps": 2, "size": 128, "guidance": 3}
        words = command.split()
        for name, value in {**usual, **options}.items():
            for one in value if isinstance(value, list) else [value]:
                known = self.files / str(one)
                if one is not None:
                    option = f"--{name.replace('_', '-')}"
                    words.append(option)
                    if isinstance(one, tuple):
                        words += map(str, one)
                    elif one is not True:
                        words.append(str(known if known.exists() else one))
        return cli.main(words)

    def express(self, **options: Any) -> int:
        usual: dict[str, Any] = {
            "base": "base.safetensors",
            "identity": "person.safetensors",
            "identity_adapter": "faceid.bin",
            "expression_adapter": "fineface.bin",
            "word": "joy",
        }
        return self("express", **{**usual, **options})

    def refused(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        """``express`` with these options ends before sampling, without an image."""

        def sampled(*_: Any) -> NoReturn:
            pytest.fail("it samples")

        monkeypatch.setattr(pipeline, "run_sampler", sampled)
        assert self.express(**options) == 2
        assert not self.out.exists()

    @property
    def image(self) -> torch.Tensor:
        return tensor_of(open_rgb(self.out))
