"""Nodes of the menu face/dense_face: adapter, prompt, head pose, annotations, blending."""
