"""The tiny world's models as ordinary MODEL, CLIP and VAE of the host."""
