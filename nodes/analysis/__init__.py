"""Nodes of the menu face/analysis: finding, cropping, masking and measuring faces."""
