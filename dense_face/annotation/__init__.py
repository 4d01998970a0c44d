"""The annotation head: depth, face parts and landmarks predicted from the UNet's features."""
