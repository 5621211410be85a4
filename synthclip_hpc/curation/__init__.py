"""Curation (paper, step 2): which concepts a caption names, how often each occurs, which captions stay."""
