"""The tiny world's networks: the face analyzer and the independent evaluator."""
