"""Finding, aligning and measuring faces, independent of any host."""
