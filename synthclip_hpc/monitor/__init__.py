"""Looking at a run: one immutable snapshot from files, queue and accounting, and the views that render it."""
