"""The renderer of parametric heads: from parameters to images with ground truth."""
