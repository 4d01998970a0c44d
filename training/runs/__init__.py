"""The training loop, its states and its processes; the same for every trainer."""
