"""Published adapters: IP-Adapter-FaceID and its kin (Stable Diffusion 1.5, SDXL), and FineFace.

Identity (``identity_adapter``) and expression (``fineface``) come from different files and act side
by side in decoupled cross-attention. ``load`` reads a file and recognises it by its shapes.
Sources: docs/reference/published_weights.md C2, C4, D7, F, G.
"""
