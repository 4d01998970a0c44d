"""Both methods in the tiny world: from a request to finished images."""
