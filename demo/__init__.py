"""The bundled tiny world: a renderer of parametric heads, small networks and their weights."""
