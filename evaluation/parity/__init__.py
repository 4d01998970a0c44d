"""Parity with a reference implementation, by fixtures of golden tensors."""
