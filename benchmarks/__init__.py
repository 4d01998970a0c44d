"""Measured speed and memory: ``make bench``."""
