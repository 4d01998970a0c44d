"""The renderer of parametric heads: from numbers to images with their truth."""
