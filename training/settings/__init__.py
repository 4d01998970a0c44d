"""The settings of the trainers, and what a training step with them needs."""
