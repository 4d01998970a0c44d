"""Aligning faces and cutting them out of images of any size, and putting them back."""
