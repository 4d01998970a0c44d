"""Identities: unit vectors with the name of their encoder."""

from __future__ import annotations

import pytest
import torch
from comfyui_dense_face.errors import IncompatibleError, InputError
from comfyui_dense_face.faces.identity import Identity, average, away_from


def unit(*values: float) -> torch.Tensor:
    vector = torch.tensor(values, dtype=torch.float32)
    return vector / vector.norm()


def test_vector_is_converted_to_float32_on_the_cpu() -> None:
    identity = Identity(unit(3, 4).double().requires_grad_(), "a")
    assert identity.vector.dtype == torch.float32 and not identity.vector.requires_grad


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (torch.ones(2, 2), "one vector"),
        (torch.tensor([float("nan"), 1.0]), "not numbers"),
        (torch.tensor([3.0, 4.0]), "length 5"),
        (torch.zeros(4), "length 0"),
    ],
)
def test_invalid_vectors_are_refused(vector: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Identity(vector, "a")


def test_features_are_normalised() -> None:
    assert torch.allclose(
        Identity.from_features(torch.tensor([[3.0, 4.0]]), "a").vector, unit(3, 4)
    )
    for bad in (torch.zeros(3), torch.tensor([float("nan"), 1.0])):
        with pytest.raises(InputError, match="empty or not numbers"):
            Identity.from_features(bad, "a")


def test_average_is_weighted_and_normalised() -> None:
    one, two = Identity(unit(1, 0), "a"), Identity(unit(0, 1), "a")
    assert torch.allclose(average([one, two]).vector, unit(1, 1))
    assert torch.allclose(average([one, two], [3, 1]).vector, unit(3, 1))
    assert torch.allclose(average([one]).vector, one.vector)


def test_invalid_averages_are_refused() -> None:
    one, opposite = Identity(unit(1, 0), "a"), Identity(unit(-1, 0), "a")
    with pytest.raises(InputError, match="no identity"):
        average([])
    with pytest.raises(InputError, match="1 weights"):
        average([one, one], [1])
    with pytest.raises(InputError, match="empty"):
        average([one, opposite])
    with pytest.raises(IncompatibleError, match=r"'b'.*'a'"):
        average([one, Identity(unit(1, 0), "b")])


def test_away_from_another_identity() -> None:
    one, other = Identity(unit(1, 0), "a"), Identity(unit(0, 1), "a")
    assert torch.equal(away_from(one, other, 0).vector, one.vector)
    assert torch.allclose(away_from(one, other, 0.25).vector, unit(4, -1))
    assert torch.allclose(away_from(one, one, 0.5).vector, one.vector)
    for amount in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="amount"):
            away_from(one, other, amount)
    with pytest.raises(IncompatibleError, match=r"'b'.*'a'"):
        away_from(one, Identity(unit(1, 0), "b"), 0.1)
