"""People by number are the same on every machine and in every version of torch."""

from __future__ import annotations

from comfyui_dense_face.demo.people import CLASSES, IDENTITY_INDEX, sample_heads


def test_who_a_seed_is() -> None:
    """torch.multinomial, for one, draws others in torch 2.4."""
    people = sample_heads(range(8)).identity
    styles = [CLASSES["hair_style"][0][int(v)] for v in people[:, IDENTITY_INDEX["hair_style"]]]
    assert styles == ["short", "short", "bob", "mohawk", "bun", "bob", "afro", "mohawk"]
    glasses = [CLASSES["glasses"][0][int(v)] for v in people[:, IDENTITY_INDEX["glasses"]]]
    assert glasses == [
        "none", "none", "square", "square", "square", "none", "sunglasses", "square"
    ]  # fmt: skip
