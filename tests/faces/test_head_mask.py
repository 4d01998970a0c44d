"""The mask of a head to be drawn anew, and of what of it is pasted."""

from __future__ import annotations

import torch
from comfyui_dense_face.faces.head_mask import head_mask, paste_mask


def logits(radius: float) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return radius - ((x - 15.5) ** 2 + (y - 15.5) ** 2).sqrt()[None]


def test_it_covers_the_head_and_grows_with_it() -> None:
    plain = head_mask(logits(8), 128, 128, grow=0)
    grown = head_mask(logits(8), 128, 128, grow=0.1)
    assert plain.shape == (1, 128, 128)
    assert abs(float(plain.sum()) / (torch.pi * 32**2) - 1) < 0.05
    assert bool((grown >= plain).all())
    # A margin of a tenth of the diameter makes the disc a fifth wider.
    assert 1.35 < float(grown.sum() / plain.sum()) < 1.55


def test_it_follows_the_size_of_the_picture() -> None:
    mask = head_mask(logits(8).expand(2, -1, -1), 64, 96)
    assert mask.shape == (2, 64, 96)
    assert mask.min() >= 0 and mask.max() == 1


def test_no_head_gives_an_empty_mask() -> None:
    assert float(head_mask(logits(-1), 128, 128).max()) == 0


def test_the_new_head_and_the_place_of_the_old_one_are_pasted() -> None:
    drawn = head_mask(logits(8), 128, 128, grow=0.4)
    for before, after in ((8, 5), (5, 8)):
        pasted = paste_mask(logits(before), logits(after), drawn, grow=0.05)
        assert torch.equal(pasted, head_mask(logits(8), 128, 128, grow=0.05))
        assert float(pasted.sum()) < 0.75 * float(drawn.sum())


def test_nothing_is_pasted_that_was_not_drawn() -> None:
    drawn = head_mask(logits(6), 128, 128, grow=0)
    assert torch.equal(paste_mask(logits(6), logits(14), drawn), drawn)


def test_without_one_of_the_heads_all_that_was_drawn_is_pasted() -> None:
    drawn = head_mask(logits(8), 128, 128, grow=0.4).expand(3, -1, -1)
    before, after = ((8, 8, -1), (8, -1, 8))
    pasted = paste_mask(*(torch.cat([logits(r) for r in each]) for each in (before, after)), drawn)
    assert float(pasted[0].sum()) < float(drawn[0].sum())
    assert torch.equal(pasted[1:], drawn[1:])
