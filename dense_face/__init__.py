"""Dense-Face (arXiv 2412.18149) in plain torch: adapter, identity token, pose branch, blending.

Nothing here imports ComfyUI or diffusers; the bindings to both call these modules.
"""
