"""How well the methods do: evaluators, metrics, held-out people and contact sheets."""
