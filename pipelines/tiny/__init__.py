"""Both methods in the tiny world, end to end: from prompts and references to images."""
