"""The library on diffusers: what the command line and scripts use without ComfyUI."""
