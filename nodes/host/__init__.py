"""The only place that knows ComfyUI's internals: patches, control, memory, samplers, folders."""
