"""Trainers, data sets and losses; accelerate and diffusers live here and in ``pipelines/`` only."""
