"""Evaluation on photographs: people x scenes x prompts x words on the user's own base.

Identity is measured by a recogniser that conditions nothing, expressions by the landmarker.
"""
