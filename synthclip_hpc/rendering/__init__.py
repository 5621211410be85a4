"""Text to image: renderers, and what is made of what they draw."""
