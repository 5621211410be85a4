"""Training CLIP: what the ranks of one job do, and how their processes are kept together."""
