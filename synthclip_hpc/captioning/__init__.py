"""Concept banks, and the engines that write captions for them."""
