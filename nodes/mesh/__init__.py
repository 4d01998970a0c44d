"""Nodes of the menu face/mesh: the face mesh as the hint of an ordinary ControlNet."""
