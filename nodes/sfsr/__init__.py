"""Nodes of the menu face/sfsr: expressions, the SFSR adapter and its samplers."""
