"""The stages that train the tiny world's bundled weights from zero."""
