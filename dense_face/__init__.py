"""Dense-Face (arXiv 2412.18149) as host-free torch: adapter, identity token, pose branch, blending.

Nothing here knows ComfyUI or diffusers; both bindings call these modules. One file holds one idea.
"""
