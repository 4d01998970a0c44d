"""The bundled tiny world: renderer of parametric heads, tiny base model and its weights."""
