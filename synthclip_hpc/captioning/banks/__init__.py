"""Concept banks that come with the package, and the scripts that make them."""
