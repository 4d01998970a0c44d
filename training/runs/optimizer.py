"""Muon for matrices and convolutions with AdamW for all other parameters, or AdamW alone.

On the tiny world's autoencoder the pair reaches the same loss in about half the steps of AdamW
alone, which decides when training runs on a CPU. AdamW in 8 bits, by the library bitsandbytes,
needs a quarter of its memory.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError
from ..settings.config import OPTIMIZERS

_BETAS = (0.9, 0.99)
_NEWTON_SCHULZ_STEPS = 3  # of the usual 5: on CPUs they take as long as the backward pass
_MIN_SIDE = 16  # orthogonalising thinner matrices gains nothing


def new_optimizer(
    name: str, module: nn.Module, lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """One of :data:`OPTIMIZERS`, for the parameters of ``module`` that need a gradient.

    Args:
        module: On its final device.

    Raises:
        InputError: There is no such optimizer, or bitsandbytes is missing.
    """
    if name == "muon":
        return MuonAdamW(module, lr, weight_decay)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if name == "adamw":
        return torch.optim.AdamW(trained, lr=lr, betas=_BETAS, weight_decay=weight_decay)
    if name != "adamw8bit":
        raise InputError(
            f"there is no optimizer {name}", fix=f"Choose one of {', '.join(OPTIMIZERS)}"
        )
    return adamw8bit()(trained, lr=lr, betas=_BETAS, weight_decay=weight_decay)


def adamw8bit() -> Any:
    """The class of AdamW in 8 bits.

    Raises:
        InputError: bitsandbytes is missing.
    """
    try:
        return importlib.import_module("bitsandbytes.optim").AdamW8bit
    except ImportError as error:
        raise InputError(
            "the optimizer adamw8bit needs the library bitsandbytes",
            fix="Install it with pip install bitsandbytes, or choose adamw",
        ) from error


class MuonAdamW(torch.optim.Optimizer):
    """Both optimizers as one, so that accelerate and learning rate schedulers see a single one.

    A learning rate means the same to both (the RMS of Muon's updates is matched to AdamW's).
    torch's Muon takes two-dimensional parameters only, so it gets convolutions as
    [out, in * kernel] views that share their storage.

    Args:
        module: On its final device; parameters that need no gradient are left out.
    """

    def __init__(self, module: nn.Module, lr: float, weight_decay: float) -> None:
        # Embeddings are lookup tables, not linear maps.
        tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
        trained = [p for p in module.parameters() if p.requires_grad]
        self._matrices = [p for p in trained if _is_matrix(p) and id(p) not in tables]
        matrices = {id(p) for p in self._matrices}
        others = [p for p in trained if id(p) not in matrices]
        self._views = [p.detach().flatten(1).requires_grad_() for p in self._matrices]
        self._optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=lr, betas=_BETAS, weight_decay=weight_decay)
        ]
        if self._views:
            self._optimizers.append(
                torch.optim.Muon(
                    self._views,
                    lr=lr,
                    weight_decay=weight_decay,
                    ns_steps=_NEWTON_SCHULZ_STEPS,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        groups = [{"params": params} for params in (others, self._matrices) if params]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters from their gradients at the learning rate of ``param_groups``."""
        if closure is not None:
            raise NotImplementedError("closures are not supported")
        lr = self.param_groups[0]["lr"]
        for view, matrix in zip(self._views, self._matrices, strict=True):
            view.grad = None if matrix.grad is None else matrix.grad.flatten(1)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """State of both, for resuming."""
        states = [optimizer.state_dict() for optimizer in self._optimizers]
        return {"lr": self.param_groups[0]["lr"], "optimizers": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo :meth:`state_dict`."""
        for optimizer, state in zip(self._optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        for group in self.param_groups:
            group["lr"] = state_dict["lr"]


def _is_matrix(parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and min(len(parameter), parameter[0].numel()) >= _MIN_SIDE
