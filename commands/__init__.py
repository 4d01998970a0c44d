"""The commands of ``denseface``, one file each; ``cli.py`` imports the one that is called."""
