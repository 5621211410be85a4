"""Recall at k as CLIP_benchmark counts it."""

from __future__ import annotations

import numpy as np
import pytest

from evals import retrieval

torch = pytest.importorskip("torch")


def by_definition(images, texts, image_of, k: int) -> tuple[float, float]:
    """Sort everything; no block, no tensor."""
    images = images / np.linalg.norm(images, axis=1, keepdims=True)
    texts = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    scores = texts.astype(np.float64) @ images.T.astype(np.float64)
    image_hits = [image_of[row] in np.argsort(-scores[row])[:k] for row in range(len(texts))]
    text_hits = [row in image_of[np.argsort(-scores[:, row])[:k]] for row in range(len(images))]
    return float(np.mean(image_hits)), float(np.mean(text_hits))


def test_recalls_are_those_of_a_full_sort_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    image_of = np.sort(random.integers(0, 40, 150))
    image_of[:40] = np.arange(40)  # not sorted, and every image has a caption
    images = random.standard_normal((40, 16)).astype(np.float32)
    texts = (images[image_of] + 2 * random.standard_normal((150, 16))).astype(np.float32)
    whole = retrieval.measure(images, texts, image_of)
    for k in (1, 5, 10):
        expected = by_definition(images, texts, image_of, k)
        assert whole.metrics[f"image_retrieval_recall@{k}"] == pytest.approx(expected[0], abs=1e-12)
        assert whole.metrics[f"text_retrieval_recall@{k}"] == pytest.approx(expected[1], abs=1e-12)
    assert 0.1 < whole.metrics["image_retrieval_recall@1"] < whole.metrics["image_retrieval_recall@10"] < 1
    assert whole.ties == {"image_retrieval": 0, "text_retrieval": 0}
    monkeypatch.setattr(retrieval, "_BLOCK_SCORES", 333)
    assert retrieval.measure(images, texts, image_of) == whole


def test_an_image_is_found_by_any_of_its_captions_and_counts_once() -> None:
    images = np.eye(3, 4, dtype=np.float32)
    texts = np.array([[1, 0, 0, 0], [0, 0, 1, 0.1], [0, 1, 0, 0], [1, 0, 0.5, 0]], np.float32)
    found = retrieval.measure(images, texts, np.array([0, 0, 1, 2]), at=(1,))
    # The second caption is nearest to image 2 and not its own, 0; the fourth to image 0 and not its own, 2.
    assert found.metrics == {"image_retrieval_recall@1": 0.5, "text_retrieval_recall@1": pytest.approx(2 / 3)}


def test_equal_captions_of_different_images_are_told_as_ties() -> None:
    images = np.eye(2, 3, dtype=np.float32)
    texts = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    found = retrieval.measure(images, texts, np.array([0, 1, 1]), at=(1, 2))
    assert found.ties == {"image_retrieval": 0, "text_retrieval": 1}
    assert found.metrics["text_retrieval_recall@2"] == 1.0


def test_a_k_above_the_number_of_items_counts_all_as_found() -> None:
    found = retrieval.measure(np.eye(2, dtype=np.float32), -np.eye(2, dtype=np.float32), np.array([0, 1]))
    assert found.metrics["image_retrieval_recall@10"] == 1.0 and found.metrics["image_retrieval_recall@1"] == 0.0
