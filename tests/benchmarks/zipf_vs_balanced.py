"""Balanced against Zipf-skewed captions, at the demo's size: the paper's Table 3a in small.

One pool of captions of the 100 demo classes, the k-th of them 1/k times as frequent as the first; of it `balance` keeps
as many captions balanced as at random, and each set is rendered and trained on by the demo's settings. Head: the 20
most frequent classes; tail: the 50 least frequent. The two sets of a seed share pool, order of classes and all seeds.
Whatever comes out is told: there is no floor. Three seeds take a quarter of an hour of two free cores.
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sharding.ids import derive, item_id
from synthclip_hpc.captioning.engines.emoji_wording import read_emoji_templates
from synthclip_hpc.rendering.glyphs.evaluation_sets import write_glyph_set
from synthclip_hpc.rendering.glyphs.named import read_demo_classes
from tests.benchmarks.measure import Result, command, environment, run_process

SEEDS = (0, 1, 2)
POOL = 80_000
HEAD, TAIL = 20, 50
SETS = {"twemoji": "glyphs-twemoji", "openmoji": "glyphs-openmoji"}
MODES, NAMES = ("balanced", "random"), ("balanced", "Zipf")
_WORDS = (
    *("calm", "bold", "plain", "simple", "neat", "fine", "nice", "quiet", "soft", "crisp", "clear", "tidy", "modern"),
    *(
        "classic",
        "basic",
        "pretty",
        "lovely",
        "proper",
        "common",
        "usual",
        "merry",
        "gentle",
        "smart",
        "clean",
        "fresh",
    ),
)
"""Said behind a caption, so that a frequent class has enough of them: every text is kept once."""


class Scores(NamedTuple):
    """Zero-shot top-1 of a model in one style, as fractions: the mean recall of classes."""

    all: float
    head: float
    tail: float


def measure(folder: Path, seeds: Sequence[int] = SEEDS) -> list[Result]:
    sets = {style: folder / name for style, name in SETS.items()}
    for style, path in sets.items():
        write_glyph_set(path, SETS[style], seed=0, images_per_class=10, size=64)
    results: list[Result] = []
    differences: dict[str, list[Scores]] = {style: [] for style in SETS}
    for seed in seeds:
        order = classes_by_rank(seed)
        pool = write_pool(folder / f"pool{seed}.tsv", order, seed)
        found = {mode: _of_one_set(folder / f"{mode}{seed}", pool, mode, seed, order, sets) for mode in MODES}
        counts = {mode: captions_by_rank(folder / f"{mode}{seed}/run", order) for mode in MODES}
        told = "; ".join(f"{name} {_head_and_tail(counts[mode])}" for mode, name in zip(MODES, NAMES, strict=True))
        results.append(Result(f"captions a class, seed {seed}: head, tail", told, "-", None))
        for style in SETS:
            balanced, random = (found[mode][style] for mode in MODES)
            differences[style].append(Scores(*(a - b for a, b in zip(balanced, random, strict=True))))
            what = f"zero-shot top-1, {style}, seed {seed}: all, head, tail"
            told = "; ".join(f"{name} {_told(one)}" for name, one in zip(NAMES, (balanced, random), strict=True))
            results.append(Result(what, told, "-", None))
    for style, found_here in differences.items():
        middle = Scores(*(statistics.median(values) for values in zip(*found_here, strict=True)))
        what = f"balanced minus Zipf, {style}, median of {len(found_here)}"
        results.append(Result(what, f"{_told(middle, '+')} points", "-", None))
    return results


def classes_by_rank(seed: int) -> list[str]:
    """Return the classes from the most frequent to the least; which these are follows from the seed."""
    return sorted(read_demo_classes(), key=lambda concept: derive(seed, item_id(concept), "zipf-rank"))


def write_pool(path: Path, order: Sequence[str], seed: int) -> Path:
    """Write `POOL` captions, one a line, each naming one class; class k of `order`, from 1, by a share of 1/k."""
    forms = [form for form in read_emoji_templates() if "{colour}" not in form and "{other}" not in form]
    dice = np.random.default_rng(seed)
    shares = 1 / np.arange(1, len(order) + 1)
    ranks = dice.choice(len(order), POOL, p=shares / shares.sum())
    chosen, words = dice.integers(len(forms), size=POOL), dice.integers(len(_WORDS) ** 2, size=POOL)
    lines = ["caption"]
    for rank, form, word in zip(ranks.tolist(), chosen.tolist(), words.tolist(), strict=True):
        first, second = divmod(word, len(_WORDS))
        lines.append(f"{forms[form].format(concept=order[rank])}, {_WORDS[first]} {_WORDS[second]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _of_one_set(
    folder: Path, pool: Path, mode: str, seed: int, order: Sequence[str], sets: dict[str, Path]
) -> dict[str, Scores]:
    """Choose, render, train, and return the scores by style."""
    folder.mkdir()
    words = ["stage=balance,render,merge,train", "preset=laptop", f"balance.source={pool}", f"balance.mode={mode}"]
    words += [f"seed={seed}", "cluster=local", "wait=true", f"run={folder / 'run'}"]
    run_process(command("submit", *words), folder, environment())
    model = f"local-dir:{folder / 'run/train/export'}"
    return {style: _scores(folder, model, path, order) for style, path in sets.items()}


def _scores(folder: Path, model: str, data: Path, order: Sequence[str]) -> Scores:
    words = [
        "zero_shot",
        f"data={data}",
        f"model={model}",
        "device=cpu",
        "workers=0",
        f"out={folder / 'zero-shot.json'}",
    ]
    run_process([sys.executable, "-m", "evals", *words], folder, environment())
    recalls = json.loads((folder / "zero-shot.json").read_text(encoding="utf-8"))["per_class"]["recall"]
    by_class = dict(zip(read_demo_classes(), recalls, strict=True))
    ranked = [by_class[concept] for concept in order]
    return Scores(statistics.mean(ranked), statistics.mean(ranked[:HEAD]), statistics.mean(ranked[-TAIL:]))


def captions_by_rank(run: Path, order: Sequence[str]) -> list[int]:
    """Return how many captions of the run's set name each class of `order`."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(path, columns=["matched_concept_ids"]) for path in run.glob("balance/cut/data/*/*.parquet")]
    named = collections.Counter(
        one for table in tables for row in table["matched_concept_ids"].to_pylist() for one in row
    )
    (bank,) = run.glob("concepts/read/data/*/*.parquet")
    ids = {row["concept"]: row["concept_id"] for row in pq.read_table(bank).to_pylist()}
    return [named[ids[concept]] for concept in order]


def _head_and_tail(counts: Sequence[int]) -> str:
    return f"{statistics.mean(counts[:HEAD]):.0f} / {statistics.mean(counts[-TAIL:]):.0f}"


def _told(scores: Scores, sign: str = "") -> str:
    return " / ".join(f"{100 * score:{sign}.1f}" for score in scores)


def main() -> int:
    """`python -m tests.benchmarks.zipf_vs_balanced [--seeds 0,1,2]`: this benchmark alone."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="seeds, with a comma between")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="synthclip-zipf-") as temporary:
        for result in measure(Path(temporary), [int(seed) for seed in given.seeds.split(",")]):
            print(f"{result.what:<58} {result.value}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
