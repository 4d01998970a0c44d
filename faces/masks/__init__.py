"""Masks of faces, heads and their parts, and compositing by a mask (1 = redraw)."""
