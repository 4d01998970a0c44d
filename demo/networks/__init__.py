"""The tiny world's own networks: the face analyzer, and the evaluator that only ever measures."""
