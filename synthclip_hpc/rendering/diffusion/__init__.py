"""The `diffusion` renderer: text-to-image pipelines of the diffusers library."""
