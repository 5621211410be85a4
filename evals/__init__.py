"""Measure a CLIP model: features once per data set, then one task at a time, then tables.

The package reads data sets laid out as folders of WebDataset tars, the layout that CLIP_benchmark's users already have.
It returns values and leaves their storage to the caller, so it is of use without the rest of synthclip-hpc: it knows no
run directory, no shards and no Slurm. `python -m evals --help` lists the tasks.
"""
