"""Dense-Face's pose branch as an ordinary CONTROL_NET.

Used with the core node *Apply ControlNet*: strength, percent range, chaining with other control
nets and memory management are the host's. Two things are ours:

- The branch never reads the text, and at CFG > 1 the halves of a batch usually carry the same
  latent. It then runs once and its residuals serve every half.
- The pose image is encoded once a sampling, not once a step.

Host objects used: ``controlnet.ControlNet``, ``ops.manual_cast``.
"""

from __future__ import annotations

from typing import Any

import comfy.controlnet
import comfy.model_management as mm
import comfy.ops
import torch
from torch import Tensor, nn

from ....dense_face.pose_branch import PoseBranch
from ..memory import compute_dtypes


class PoseNet(nn.Module):
    """The branch behind the interface that the host's control object expects."""

    def __init__(self, branch: PoseBranch, dtype: torch.dtype) -> None:
        super().__init__()
        self.branch = branch
        self.dtype = dtype
        self._encoded: tuple[Tensor, Tensor] | None = None

    def forward(
        self,
        x: Tensor,
        hint: Tensor,
        timesteps: Tensor,
        context: Tensor | None = None,
        parts: int = 1,
        **kwargs: Any,
    ) -> dict[str, list[Tensor]]:
        """Residuals in the host's format.

        Args:
            x: Latents [parts * B, 4, h, w], scaled for the model.
            hint: Pose images [1 or parts * B, 3, 8h, 8w] in 0..1.
            timesteps: [parts * B].
            parts: Number of CFG parts in the batch.
        """
        encoded = self._encode(hint)
        samples = x.shape[0] // parts
        if parts > 1 and _parts_agree(parts, x, timesteps, hint):
            encoded = encoded[:samples]
            found = self.branch.residuals(x[:samples], encoded, timesteps[:samples])
            found = [residual.repeat(parts, 1, 1, 1) for residual in found]
        else:
            found = self.branch.residuals(x, encoded, timesteps)
        return {"middle": [found[-1]], "output": found[:-1]}

    def invalidate(self) -> None:
        """Drop the encoded pose image."""
        self._encoded = None

    def _encode(self, hint: Tensor) -> Tensor:
        """The encoded hint; the host passes the same tensor object in every step."""
        if self._encoded is None or self._encoded[0] is not hint:
            self._encoded = (hint, self.branch.encode_hint(hint))
        return self._encoded[1]


class PoseControl(comfy.controlnet.ControlNet):
    """The host's control object; it also passes the number of CFG parts to the net."""

    def get_control(
        self, x_noisy: Tensor, t: Tensor, cond: Any, batched_number: int, *rest: Any
    ) -> Any:
        """Residuals for one call of the UNet."""
        self.set_extra_arg("parts", batched_number)
        return super().get_control(x_noisy, t, cond, batched_number, *rest)

    def copy(self) -> PoseControl:
        """A control object with its own settings and the same network."""
        fresh = PoseControl(
            None, load_device=self.load_device, manual_cast_dtype=self.manual_cast_dtype
        )
        fresh.control_model = self.control_model
        fresh.control_model_wrapped = self.control_model_wrapped
        self.copy_to(fresh)
        return fresh

    def cleanup(self) -> None:
        """Called by the host after every sampling."""
        self.control_model.invalidate()
        super().cleanup()


def pose_control(tensors: dict[str, Tensor]) -> PoseControl:
    """A CONTROL_NET from the tensors of a pose branch (names without ``control_model.``).

    Raises:
        ModelFileError: A weight is missing.
    """
    parameters = sum(t.numel() for t in tensors.values())
    # Matrices may be stored with fewer bits than vectors; use the wider dtype.
    stored = max((t.dtype for t in tensors.values()), key=lambda dtype: dtype.itemsize)
    dtype, cast = compute_dtypes(parameters, stored)
    branch = PoseBranch.from_state_dict(
        tensors, comfy.ops.manual_cast, device=mm.unet_offload_device(), dtype=dtype
    )
    net = PoseNet(branch.eval().requires_grad_(False), dtype)
    return PoseControl(net, load_device=mm.get_torch_device(), manual_cast_dtype=cast)


def _parts_agree(parts: int, *batches: Tensor) -> bool:
    """Whether all CFG parts are equal; with area prompts and some samplers they are not."""
    for batch in batches:
        first, *others = batch.chunk(parts)
        if batch.shape[0] > 1 and not all(torch.equal(first, other) for other in others):
            return False
    return True
