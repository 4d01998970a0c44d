"""MediaPipe's face landmarker without MediaPipe: detector, mesh, blendshapes and head pose."""
