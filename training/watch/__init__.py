"""What a person sees of a training run: curves, validation, and whether it learns."""
