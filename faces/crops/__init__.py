"""Cutting faces out of images at any size, and putting them back."""
