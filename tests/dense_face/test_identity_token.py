"""Identity token: offset of the placeholder only, frozen P, readable refusals."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.dense_face.identity_token import IdentityToken
from comfyui_dense_face.errors import InputError, ModelFileError


def test_only_placeholders_change() -> None:
    token = IdentityToken(8, id_dim=4, initial=torch.arange(8.0)).eval()
    embeds, ids = torch.randn(2, 5, 8), torch.tensor([[1, 7, 2, 7, 0], [0, 0, 0, 0, 0]])
    before = embeds.clone()
    found = token.replace(embeds, ids, 7, torch.randn(1, 4))
    assert torch.equal(embeds, before)
    assert torch.equal(found[ids != 7], embeds[ids != 7])
    assert torch.equal(found[0, 1], found[0, 3])
    assert torch.equal(token.replace(embeds, ids, 7, None)[0, 1], torch.arange(8.0))


def test_strength_scales_the_offset() -> None:
    token = IdentityToken(8, id_dim=4, initial=torch.ones(8)).eval()
    identity = torch.randn(3, 4)
    small = token(identity) - 1
    token.reference_delta *= 10
    assert torch.allclose(token(identity) - 1, 10 * small, atol=1e-6)


def test_offset_is_the_normalised_projection() -> None:
    """P + delta * BatchNorm(W a) with the running statistics."""
    token = IdentityToken(8, id_dim=4, initial=torch.arange(8.0), reference_delta=0.3).eval()
    generator = torch.Generator().manual_seed(0)
    norm, identity = token.projector_norm, torch.randn(3, 4, generator=generator)
    with torch.no_grad():
        norm.running_mean, norm.running_var = torch.rand(2, 8, generator=generator)
        norm.weight.copy_(torch.rand(8, generator=generator))
        norm.bias.copy_(torch.rand(8, generator=generator))
        projected = identity @ token.projector.weight.T
        normalised = (projected - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        expected = torch.arange(8.0) + 0.3 * (normalised * norm.weight + norm.bias)
        assert torch.allclose(token(identity), expected, atol=1e-5)


def test_placeholder_is_frozen_and_the_rest_learns() -> None:
    token = IdentityToken(8, id_dim=4).train()
    token(torch.randn(4, 4)).square().sum().backward()
    trained = {name for name, p in token.named_parameters() if p.grad is not None}
    assert trained == {"projector.weight", "projector_norm.weight", "projector_norm.bias"}


def test_keys_are_those_of_the_release() -> None:
    assert set(IdentityToken(8).state_dict()) == {
        "string_to_param_dict.*",
        "initial_embeddings.*",
        "projector.weight",
        *(f"projector_norm.{n}" for n in ("weight", "bias", "running_mean", "running_var")),
        "projector_norm.num_batches_tracked",
    }


def test_refusals() -> None:
    token = IdentityToken(8, id_dim=4).eval()
    embeds = torch.zeros(2, 5, 8)
    with pytest.raises(InputError, match=r"3 identities .* 2 prompts"):
        token.replace(embeds, torch.zeros(2, 5), 7, torch.zeros(3, 4))
    with pytest.raises(InputError, match="do not fit"):
        token.replace(embeds, torch.zeros(2, 4), 7, None)
    with pytest.raises(ModelFileError, match=r"projector\.weight"):
        IdentityToken.from_state_dict({})
    state = token.state_dict()
    del state["projector_norm.running_var"]
    with pytest.raises(ModelFileError, match="running_var"):
        IdentityToken.from_state_dict(state)
