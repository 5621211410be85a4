"""The finished data set: its index, its card, what else it is put together from, and readers for it."""
