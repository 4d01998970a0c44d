"""A node pack for the soak test: what the server's process holds, and a model that fails."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import threading
from pathlib import Path
from typing import Any

import torch
from aiohttp import web
from server import PromptServer  # the host's module

STATUS = Path("/proc/self/status")


class ProbeError(RuntimeError):
    """Raised by the node below while sampling."""


class FailWhileSampling:
    """A MODEL whose UNet raises in the call of the given number."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "run"
    CATEGORY = "test"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"model": ("MODEL",), "call": ("INT", {"default": 1, "min": 1})}}

    def run(self, model: Any, call: int) -> tuple[Any]:
        calls = 0

        def wrapper(apply_model: Any, arguments: dict[str, Any]) -> Any:
            nonlocal calls
            calls += 1
            if calls >= call:
                raise ProbeError("meant to fail")
            return apply_model(arguments["input"], arguments["timestep"], **arguments["c"])

        patched = model.clone()
        patched.set_model_unet_function_wrapper(wrapper)
        return (patched,)


def _held(_: web.Request) -> web.Response:
    gc.collect()
    # Freed memory goes back to the system: what stays resident is held by someone.
    ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim(0)
    kinds = [type(found) for found in gc.get_objects()]
    modules = [found for found in gc.get_objects() if isinstance(found, torch.nn.Module)]
    lines = STATUS.read_text(encoding="ascii").splitlines()
    kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return web.json_response(
        {
            "resident": kilobytes / 1024,
            "tensors": sum(issubclass(kind, torch.Tensor) for kind in kinds),
            "modules": len(modules),
            "slots": sum(kind.__name__ == "AttentionSlot" for kind in kinds),
            "hooks": sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in modules),
            "files": len(list(Path("/proc/self/fd").iterdir())),
            "threads": threading.active_count(),
        }
    )


async def _answer(request: web.Request) -> web.Response:
    return _held(request)


PromptServer.instance.routes.get("/soak/held")(_answer)

NODE_CLASS_MAPPINGS = {"Soak_FailWhileSampling": FailWhileSampling}
