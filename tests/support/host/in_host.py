"""Helpers for tests that run the pack's nodes inside the host's process."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor


@dataclass
class Tiny:
    """The pack and a tiny world of random weights, loaded by the nodes' own loaders."""

    pack: ModuleType
    folder: Path

    def __post_init__(self) -> None:
        with torch.inference_mode():
            base = self.folder / "tiny_base.safetensors"
            self.model, self.clip, self.vae = self.module("nodes.host.tiny.tiny_sd").load_tiny_sd(
                base
            )
            self.adapter, self.control = self.load_adapter("tiny_dense_face")

    def module(self, name: str) -> Any:
        """A module of the pack under the name that the host gives it."""
        return importlib.import_module(f"{self.pack.__name__}.{name}")

    def load_adapter(self, name: str) -> tuple[Any, Any]:
        """(DENSEFACE_ADAPTER, CONTROL_NET) from a file of the folder."""
        load = self.module("nodes.host.dense_face.adapter_file").load_parts
        with torch.inference_mode():
            fused, token, control, encoder = load(self.folder / f"{name}.safetensors")
        adapter = self.module("nodes.sockets").LoadedAdapter(name, fused, token, encoder)
        return adapter, control

    def people(self, count: int = 1, encoder: str = "tiny-world", seed: int = 0) -> Any:
        """DENSEFACE_IDENTITY of so many random people."""
        generator = torch.Generator().manual_seed(seed)
        vectors = torch.nn.functional.normalize(torch.randn(count, 512, generator=generator))
        identity = self.module("faces.identity").Identity
        people = tuple(identity(vector, encoder) for vector in vectors)
        return self.module("nodes.sockets").People(people)

    def run(self, node: str, *args: Any, **kwargs: Any) -> Any:
        """Execute a node by class name as the host does; one output alone, several as a tuple."""
        result = self._execute(node, *args, **kwargs).result
        return result[0] if len(result) == 1 else result

    def shown(self, node: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What a node shows (its ``ui``), executed as by :meth:`run`."""
        shown = self._execute(node, *args, **kwargs).ui
        return shown.as_dict() if hasattr(shown, "as_dict") else shown or {}

    def images_shown(self, node: str, *args: Any, **kwargs: Any) -> list[Tensor]:
        """The images [H, W, 3] in 0..1 that a node shows."""
        import folder_paths
        import numpy as np
        from PIL import Image

        folder = Path(folder_paths.get_temp_directory())
        files = self.shown(node, *args, **kwargs).get("images", [])
        images = [Image.open(folder / file["filename"]).convert("RGB") for file in files]
        return [torch.from_numpy(np.array(image)) / 255 for image in images]

    def _execute(self, node: str, *args: Any, **kwargs: Any) -> Any:
        cls = next(n for n in self.module("nodes").NODES if n.__name__ == node)
        with torch.inference_mode():
            return cls.execute(*args, **kwargs)

    def apply(self, model: Any = None, people: Any = None, **changes: Any) -> Any:
        """The Apply node on the tiny model with its defaults."""
        inputs = {
            "model": model or self.model,
            "adapter": self.adapter,
            "identity": people or self.people(),
            "weight": 1.0,
            "start_percent": 0.0,
            "end_percent": 1.0,
            "mode": "auto",
        }
        return self.run("ApplyAdapter", **{**inputs, **changes})

    def prompt(self, text: str) -> Any:
        """CONDITIONING from the core node."""
        with torch.inference_mode():
            return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def sample(
        self,
        model: Any,
        positive: Any = None,
        negative: Any = None,
        *,
        cfg: float = 3.0,
        steps: int = 2,
        batch: int = 1,
        seed: int = 1,
        size: int = 16,
        **options: Any,
    ) -> Tensor:
        """Latents [batch, 4, size, size] from the core sampler."""
        import comfy.sample

        positive = positive or self.prompt("a close-up photo of a person with red hair")
        negative = negative or self.prompt("")
        latent = options.pop("latent", torch.zeros(batch, 4, size, size))
        with torch.inference_mode():
            noise = comfy.sample.prepare_noise(latent, seed)
            if options.get("disable_noise"):
                noise = torch.zeros_like(noise)
            arguments = (model, noise, steps, cfg, "euler", "normal", positive, negative, latent)
            return comfy.sample.sample(*arguments, seed=seed, disable_pbar=True, **options)

    def acts_at(self, model: Any, sigma: float) -> bool:
        """Whether a MODEL predicts anything else than the tiny one at this noise level."""
        import comfy.sample
        import comfy.samplers

        conds = self.prompt("a person"), self.prompt("")
        latent = torch.zeros(1, 4, 16, 16)
        with torch.inference_mode():
            noise = comfy.sample.prepare_noise(latent, 1)
            one, other = (
                comfy.sample.sample_custom(
                    each, noise, 3.0, comfy.samplers.sampler_object("euler"),
                    torch.tensor([sigma, 0.9 * sigma]), *conds, latent, disable_pbar=True, seed=1,
                )
                for each in (model, self.model)
            )  # fmt: skip
        return not torch.equal(one, other)

    def recast(self, dtype: torch.dtype, compute: torch.dtype | None = torch.float32) -> Any:
        """The tiny MODEL with its weights kept in another dtype.

        Args:
            compute: The dtype of its calculations; None: the same.
        """
        import comfy.model_base
        import comfy.model_management as mm
        import comfy.model_patcher

        mm.unload_all_models()  # a loaded model may hold the patches of its last run
        config = self.model.model.model_config
        changed = type(config)({**config.unet_config})
        changed.set_inference_dtype(dtype, compute)
        with torch.inference_mode():
            net = comfy.model_base.BaseModel(changed)
            net.diffusion_model.load_state_dict(self.model.model.diffusion_model.state_dict())
            net.diffusion_model.to(dtype)
        cpu = torch.device("cpu")
        return comfy.model_patcher.ModelPatcher(net, load_device=cpu, offload_device=cpu)


def device_caches(tiny: Tiny, before: Sequence[object] = ()) -> list[Any]:
    """All device caches that are alive in this process but those of ``before``."""
    kind = tiny.module("nodes.host.device_cache").DeviceCache
    found = [thing for thing in gc.get_objects() if type(thing) is kind]
    return [cache for cache in found if not any(cache is old for old in before)]


def little_memory(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a card with little memory: the host computes each part of the batch by itself."""
    monkeypatch.setattr(type(tiny.model.model), "memory_required", lambda *_, **__: 1e30)


def difference(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((a - b).abs().max() / b.abs().max())
