"""Data sets of annotated faces: records, folders, shards and the stream that training reads."""
