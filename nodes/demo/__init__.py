"""Nodes of the menu face/demo: the bundled tiny world."""
