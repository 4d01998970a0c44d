"""Does this pack compute what a reference implementation computed? Fixtures of golden tensors."""
