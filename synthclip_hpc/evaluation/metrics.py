"""Which numbers stand for a cell, and what a line of text calls them."""

from __future__ import annotations

TITLES = {
    "zero_shot": {"acc1": "zero-shot top-1", "acc5": "top-5"},
    "linear_probe": {"accuracy": "linear probe"},
    "few_shot": {"accuracy": "few-shot"},
    "retrieval": {"image_retrieval_recall@5": "image R@5", "text_retrieval_recall@5": "text R@5"},
    "long_tail": {"acc1": "long tail top-1"},
}
"""Task -> its main metrics, in the order in which they are told, and the title of each."""
MAIN_METRICS = {task: tuple(titles) for task, titles in TITLES.items()}
"""Task -> its main metrics; the first is the one that stands for the cell."""
