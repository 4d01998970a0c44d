"""Identity token: the embedding of ``*`` carries the identity into the prompt.

Source: docs/reference/dense_face.md A5.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import InputError, ModelFileError
from ..state_dict import check_state_dict

REFERENCE_DELTA = 0.01
"""Strength used by the release."""


class IdentityToken(nn.Module):
    """Token embedding of the placeholder: P + reference_delta * BatchNorm(W a).

    P is frozen: in the release, the token embedding of "person" plus the position embedding [0].
    Evaluation mode uses the running statistics; training mode needs a batch of at least 2. The
    state-dict keys are the release's, two of them with a literal asterisk.

    Args:
        width: Width of the text encoder's embeddings.
        initial: P as [width]; zero if left out.
    """

    def __init__(
        self,
        width: int = 768,
        *,
        id_dim: int = 512,
        reference_delta: float = REFERENCE_DELTA,
        initial: Tensor | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.reference_delta = reference_delta
        start = torch.zeros(1, width, device=device, dtype=dtype)
        if initial is not None:
            start = initial.detach().reshape(1, width).to(start)
        self.string_to_param_dict = nn.ParameterDict({"*": _frozen(start)})
        self.initial_embeddings = nn.ParameterDict({"*": _frozen(start)})
        self.projector = nn.Linear(id_dim, width, bias=False, device=device, dtype=dtype)
        self.projector_norm = nn.BatchNorm1d(width, device=device, dtype=dtype)

    @classmethod
    def from_shapes(
        cls,
        tensors: Mapping[str, Tensor],
        *,
        reference_delta: float = REFERENCE_DELTA,
        device: torch.device | str | None = "meta",
    ) -> IdentityToken:
        """An uninitialised module with the shapes of a state dict, whose keys are checked.

        On the default device ``meta`` it takes no memory.

        Raises:
            ModelFileError: A weight is missing or unknown.
            IncompatibleError: A weight has another shape.
        """
        weight = tensors.get("projector.weight")
        if weight is None or weight.ndim != 2:
            raise ModelFileError(
                "the identity token lacks the weight projector.weight",
                fix="Download or convert the file again",
            )
        width, id_dim = weight.shape
        token = cls(width, id_dim=id_dim, reference_delta=reference_delta, device=device)
        check_state_dict(token, tensors, "the identity token")
        return token

    @classmethod
    def from_state_dict(
        cls, tensors: Mapping[str, Tensor], *, reference_delta: float = REFERENCE_DELTA
    ) -> IdentityToken:
        """Build the module in evaluation mode and load a state dict into it.

        Raises:
            ModelFileError, IncompatibleError: As :meth:`from_shapes`.
        """
        cls.from_shapes(tensors)  # without memory
        token = cls.from_shapes(tensors, reference_delta=reference_delta, device=None)
        token.load_state_dict(dict(tensors))
        return token.eval()

    @property
    def placeholder(self) -> Tensor:
        """P [1, width]: the placeholder without an identity."""
        return self.string_to_param_dict["*"]

    def forward(self, identity: Tensor) -> Tensor:
        """Embedding [B, width] of the placeholder for identities [B, D]."""
        offset = self.projector_norm(self.projector(identity.to(self.projector.weight)))
        return self.placeholder + self.reference_delta * offset

    def replace(
        self,
        embeds: Tensor,
        token_ids: Tensor,
        placeholder_id: int,
        identity: Tensor | None,
    ) -> Tensor:
        """Replace the embedding of every placeholder; returns a new tensor.

        Args:
            embeds: Token embeddings [B, L, width], before the position embedding is added.
            token_ids: [B, L].
            placeholder_id: Token id of ``*``.
            identity: [B, D] or [1, D]; None inserts P alone, as in the unconditional prompt.

        Raises:
            InputError: The shapes do not match.
        """
        if embeds.shape[:2] != token_ids.shape:
            raise InputError(
                f"{list(embeds.shape[:2])} embeddings do not fit {list(token_ids.shape)} tokens"
            )
        vector = self.placeholder if identity is None else self(identity)
        if vector.shape[0] not in (1, embeds.shape[0]):
            raise InputError(
                f"{vector.shape[0]} identities were given for {embeds.shape[0]} prompts",
                fix="Give one identity, or one for each prompt",
            )
        here = (token_ids == placeholder_id)[..., None]
        return torch.where(here, vector[:, None, :].to(embeds), embeds)


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.clone(), requires_grad=False)
