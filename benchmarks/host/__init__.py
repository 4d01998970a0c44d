"""Benchmarks that need ComfyUI: adapters on a network of full size with random weights."""
