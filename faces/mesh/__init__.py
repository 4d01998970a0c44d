"""The face mesh as a hint for the MediaPipe-face ControlNet: turned, moved, placed and drawn."""
