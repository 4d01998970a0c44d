"""Published adapters for Stable Diffusion 1.5: IP-Adapter-FaceID and its kin, and FineFace.

Identity (``identity_adapter``) and expression (``fineface``) come from different files and act side
by side in decoupled cross-attention. ``load`` reads a file and recognises it by its shapes.
Sources: docs/reference/published_weights.md C2, D7, F, G.
"""
