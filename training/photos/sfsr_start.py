"""Where the training of an SFSR adapter starts: from one of this pack, from FaceID or FineFace.

A published file brings keys and values, but an embedding of its own. So ours first learns its
tokens, on random faces: a linear map ``R`` of our tokens to theirs is fitted together with our
embedding, and goes into the keys and values, ``to_k R`` and ``to_v R``. FineFace adds one constant
vector a layer, affine in its twelve units; there ``R`` maps the mean of our tokens to the units.
FaceID's LoRA, which is for the UNet's own weights, is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import FacePackError, IncompatibleError, InputError
from ...faces.blendshapes import ARKIT_NAMES
from ...faces.encoders.names import same_encoder
from ...sfsr.adapter import FORMAT, SFSRAdapter, load_adapter
from ...sfsr.compound_inputs import ExpressionBatch, IdentityBatch
from ...sfsr.disfa_sources import intensities_of_blendshapes
from ...sfsr.ip_adapter.fineface import ExpressionAdapter
from ...sfsr.ip_adapter.identity_adapter import IdentityAdapter
from ...sfsr.ip_adapter.load import load_published
from ...sfsr.ip_adapter.places import Target, in_file_order
from ...sfsr.token_attention import EXPRESSION, IDENTITY
from ...storage import read_shapes
from ..runs.loop import seeded

log = logging.getLogger(__name__)
FIT_STEPS, FIT_ROWS = 400, 256
_RATE, _FACES = 2e-3, 1024
Fit = Callable[[], tuple[Tensor, Tensor]]
"""Our tokens [B, n, W] of random faces, and what they shall be mapped to [B, n, D]."""


def start_from(adapter: SFSRAdapter, path: Path, seed: int) -> None:
    """Give an untrained adapter the weights of another one's file.

    Args:
        adapter: Its layout is that of the run. path: Of this pack, FaceID without CLIP vision, or
            FineFace. seed: Of the random faces.

    Raises:
        ModelFileError: The file is no adapter, or damaged.
        IncompatibleError: It is for another base or encoder, of another size or of another kind.
    """
    if _is_own(path):
        _copy(adapter, load_adapter(path), path)
        return
    layout = adapter.layout
    target = Target(in_file_order(adapter.layers), layout.width)
    found = load_published(path, target=target)
    with seeded(seed):
        if isinstance(found, ExpressionAdapter):
            _take_expression(adapter, found)
        elif isinstance(found, IdentityAdapter) and not found.kind.needs_clip:
            _take_identity(adapter, found, path)
        else:
            raise IncompatibleError(
                f"training cannot start from {found.kind.title}",
                where=str(path),
                fix="Start from IP-Adapter-FaceID, FineFace or an adapter of this pack",
            )


def _is_own(path: Path) -> bool:
    try:
        return read_shapes(path)[1].get("format") == FORMAT
    except FacePackError:
        return False  # a file of torch, or damaged, which its reader says


def _copy(adapter: SFSRAdapter, found: SFSRAdapter, path: Path) -> None:
    ours, theirs = adapter.layout, found.layout
    if not same_encoder(theirs.required, ours.required):
        raise _other_encoder(theirs.required, ours.required, path)
    if theirs.tokens != ours.tokens:
        raise _other_tokens(theirs.tokens, ours.tokens, path)
    state = found.state_dict()
    shapes = {name: tensor.shape for name, tensor in adapter.state_dict().items()}
    if {name: tensor.shape for name, tensor in state.items()} != shapes:
        raise IncompatibleError(
            "the adapter to start from does not fit the base",
            where=str(path),
            fix="Start from one for the same kind of base, or from nothing",
        )
    adapter.load_state_dict(state)


def _take_identity(adapter: SFSRAdapter, found: IdentityAdapter, path: Path) -> None:
    layout = adapter.layout
    if not same_encoder(found.kind.encoder, layout.required):
        raise _other_encoder(found.kind.encoder, layout.required, path)
    if found.layout.tokens != layout.tokens:
        raise _other_tokens(found.layout.tokens, layout.tokens, path)
    vector = layout.identities[layout.required]

    def fit() -> tuple[Tensor, Tensor]:
        people = F.normalize(torch.randn(FIT_ROWS, vector), dim=1)
        with torch.no_grad():
            wanted = found.embedding(people)
        present = {layout.required: torch.ones(FIT_ROWS, dtype=torch.bool)}
        return adapter.embedding.identity(IdentityBatch({layout.required: people}, present)), wanted

    parts = nn.ModuleList([adapter.embedding.identity_in, adapter.embedding.identity_out])
    read = _fitted(parts, fit, layout.width, "identity")
    for layer in adapter.attention.layers:
        ours, theirs = (
            each.projection(layer, IDENTITY) for each in (adapter.attention, found.attention)
        )
        for side in ("to_k", "to_v"):
            weight = theirs.get_parameter(f"{side}.weight")
            ours.get_parameter(f"{side}.weight").data.copy_(weight @ read)


def _take_expression(adapter: SFSRAdapter, found: ExpressionAdapter) -> None:
    layout, count = adapter.layout, found.layout.units
    values = torch.rand(_FACES, len(ARKIT_NAMES)).square()
    values = values * (torch.rand(values.shape) < 0.4)
    units = torch.stack([intensities_of_blendshapes(face).values for face in values])
    wanted = torch.cat([units, torch.ones(_FACES, 1)], 1)[:, None]  # the last one for the constant

    def fit() -> tuple[Tensor, Tensor]:
        pick = torch.randint(_FACES, (FIT_ROWS,))
        known = torch.ones(FIT_ROWS, len(ARKIT_NAMES), dtype=torch.bool)
        learned = torch.zeros(FIT_ROWS, layout.learned)
        face = ExpressionBatch(
            values[pick], known, learned, torch.zeros(FIT_ROWS, dtype=torch.bool)
        )
        return adapter.embedding.expression(face).mean(1, keepdim=True), wanted[pick]

    embedding = adapter.embedding
    parts = nn.ModuleList([embedding.blendshapes_in, embedding.expression_out])
    read = _fitted(parts, fit, count + 1, "expression")
    basis = torch.eye(count)
    constant = found.vectors(torch.zeros(1, count))
    slopes = found.vectors(basis)
    for layer in adapter.attention.layers:
        matrix = torch.cat([slopes[layer] - constant[layer], constant[layer]]).T
        ours = adapter.attention.projection(layer, EXPRESSION)
        ours.get_parameter("to_v.weight").data.copy_(matrix @ read)
        ours.get_parameter("to_k.weight").data.zero_()  # all tokens alike: their mean


def _fitted(parts: nn.Module, fit: Fit, width: int, what: str) -> Tensor:
    """The map [D, W] of our tokens, fitted together with the part of the embedding they are of."""
    tokens, wanted = fit()
    scale = wanted.std().clamp(min=1e-6)
    read = nn.Parameter(torch.randn(width, tokens.shape[2]) / tokens.shape[2] ** 0.5)
    optimizer = torch.optim.Adam([read, *parts.parameters()], _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=FIT_STEPS)
    error = torch.zeros(())
    for _ in range(FIT_STEPS):
        tokens, wanted = fit()
        error = ((tokens @ read.T - wanted / scale).square()).mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
    spread = float((wanted / scale).var())
    log.info("start: %.0f %% of the %s explained", 100 * (1 - error.item() / spread), what)
    return (scale * read).detach()


def _other_encoder(theirs: str, ours: str, path: Path) -> IncompatibleError:
    return IncompatibleError(
        f"the adapter to start from was trained with identities of {theirs}, not of {ours}",
        where=str(path),
        fix="Give that encoder, or start from nothing",
    )


def _other_tokens(theirs: int, ours: int, path: Path) -> InputError:
    return InputError(
        f"the adapter to start from has {theirs} tokens for a source, not {ours}",
        where=str(path),
        fix=f"Give --tokens {theirs}",
    )
