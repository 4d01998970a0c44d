"""Training in the graph: on copies of the host's networks, with what a user sees of it."""
