"""Evaluation of models inside of a run: which cells there are, what each needs, and what became of them."""
