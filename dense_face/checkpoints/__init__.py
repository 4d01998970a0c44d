"""Reading, converting and writing checkpoints, none of which is ever executed."""
