"""Talk to Slurm: profiles, submission, the queue, accounting, signals and a whole cluster on one machine.

Everything goes through Slurm's own commands (``sbatch`` by way of submitit). Answers are plain values; a missing or
hanging command is an error text in them, so that a status screen outlives a busy controller. The package knows neither
what a job computes nor how its work is divided.
"""
