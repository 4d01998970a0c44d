"""All code that depends on ComfyUI's internals: patches, control, memory, samplers, folders."""
