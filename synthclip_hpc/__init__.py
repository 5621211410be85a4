"""Turn a list of concepts into a trained and evaluated CLIP model, as batch work that may be killed at any moment.

This package is the application: configuration, run directories, stages and the commands. What it stands on are three
libraries beside it which know nothing of one another: ``sharding``, ``slurm`` and ``evals``.
"""

__version__ = "0.1.0"
