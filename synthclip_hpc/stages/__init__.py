"""The pipeline's stages, one module each; a module's PHASES says what the stage consists of."""
