"""What frozen networks compute of a data set, once, on disk.

A folder holds ``cache.json`` (what it was made from), ``empty.safetensors`` (the hidden states of
the empty prompt) and ``shard-000000.safetensors`` and so on, each for a few dozen records.
"""
