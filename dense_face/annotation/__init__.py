"""The annotation head: depth, face parts and landmarks read from the UNet's features."""
