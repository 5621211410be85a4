"""The whole stage against a plain loop over the captions that owes nothing to the application: set and order."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from math import prod
from pathlib import Path

import pytest

from tests.synthclip_hpc.app import App
from tests.synthclip_hpc.test_balance import rows_of

SEED = 11
BANK = ["cat", "dog", "red fox", "fox", "old house", "house", "sea", "x-ray", "snow", "x, y", "never seen"]
WEIGHTS = [60, 25, 6, 9, 4, 12, 3, 1, 2, 1, 0]


@dataclass(frozen=True)
class Raw:
    """A caption that comes in."""

    caption_id: int
    text: str
    source: str


def hash64(person: bytes, *parts: int | str) -> int:
    text = "".join(f"i{part};" if isinstance(part, int) else f"s{len(part)}:{part}" for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8, person=person).digest(), "big")


def named(text: str) -> list[int]:
    for mark in ",.;:?!`":
        text = text.replace(mark, f" {mark} ")
    return [place for place, entry in enumerate(BANK) if f" {entry} " in f" {text} "]


def keep_probability(counts: list[int], t: float) -> Fraction:
    return 1 - prod((1 - min(Fraction(1), Fraction(t) / count) for count in counts), start=Fraction(1))


def entry_threshold(counts: list[int], number: float) -> float:
    low, high = 0.0, float(min(counts))
    for _ in range(70):
        middle = (low + high) / 2
        low, high = (low, middle) if keep_probability(counts, middle) >= Fraction(number) else (middle, high)
    return high


def recompute(raw: list[Raw], target: int | None = None, t: float | None = None) -> tuple[list[dict], dict[str, int]]:
    """Return the rows of the set in order, and what became of the others."""
    first: dict[str, Raw] = {}
    for one in raw:
        if named(one.text):
            first[one.text] = min(first.get(one.text, one), one, key=lambda raw: raw.caption_id)
    counts = Counter(place for text in first for place in named(text))

    def counts_of(one: Raw) -> list[int]:
        return [counts[place] for place in named(one.text)]

    def number(one: Raw) -> float:
        return ((hash64(b"derive", SEED, one.caption_id, "balance") >> 11) + 1) / 2**53

    if t is not None:
        kept = [one for one in first.values() if keep_probability(counts_of(one), t) >= Fraction(number(one))]
    else:
        entering = sorted(
            first.values(), key=lambda one: (entry_threshold(counts_of(one), number(one)), one.caption_id)
        )
        kept = entering[:target]
    kept.sort(key=lambda one: hash64(b"derive", SEED, one.caption_id, "shuffle"))
    unmatched = sum(not named(one.text) for one in raw)
    return [
        {
            "position": position,
            "caption_id": one.caption_id,
            "caption": one.text,
            "source": one.source,
            "matched_concept_ids": [hash64(b"item", "concept", BANK[place]) for place in named(one.text)],
        }
        for position, one in enumerate(kept)
    ], {"no_match": unmatched, "duplicate": len(raw) - unmatched - len(first)}


Balance = Callable[..., App]


@pytest.fixture
def balance(at_once: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Balance:
    monkeypatch.chdir(tmp_path)
    bank = tmp_path / "bank.json"
    bank.write_text(json.dumps(BANK))
    number = iter(range(100))

    def run(stages: str, *words: str) -> App:
        app = App(tmp_path / f"run{next(number)}")
        given = (f"stage={stages}", f"concepts.bank={bank}", f"seed={SEED}", "workers=2", "balance.shard_items=16")
        outcome = app("submit", *given, *words, "wait=true")
        assert outcome.code == 0, outcome
        return app

    return run


@pytest.fixture
def captions(tmp_path: Path) -> tuple[str, list[Raw]]:
    """A folder of tables: real mixtures of concepts, a third of all texts twice or more, some without a match."""
    draw = random.Random(5)
    texts = []
    for n in range(240):
        words = draw.choices(BANK, WEIGHTS, k=draw.randint(1, 3))
        texts.append(draw.choice((" and a ", ", ", " by the ")).join(words) + draw.choice(("", ".", f" {n % 50}")))
    texts += draw.choices(texts, k=120) + [f"Nothing of it, {n % 9}" for n in range(30)] + ['a "cat" or cats'] * 2
    draw.shuffle(texts)
    ids = draw.sample(range(10**6), len(texts))
    raw = [Raw(number, text, f"page{n}") for n, (number, text) in enumerate(zip(ids, texts, strict=True))]
    folder = tmp_path / "captions"
    folder.mkdir()
    for place, part in enumerate((raw[:50], raw[50:51], raw[51:])):
        lines = [f"{one.caption_id}\t{one.source}\t{one.text}\n" for one in part]
        (folder / f"{place}.tsv").write_text("caption_id\tsource\tcaption\n" + "".join(lines))
    return f"balance.source={folder}", raw


def check(app: App, wanted: list[dict], rejects: dict[str, int]) -> None:
    found = [{key: row[key] for key in wanted[0]} for row in rows_of(app.path)]
    assert found == wanted
    report = json.loads((app.path / "balance/coverage/data/000/00000.json").read_text())
    assert report["accounting"]["rejects"] == {reason: count for reason, count in rejects.items() if count}
    assert report["accounting"]["kept"] == len(wanted)


@pytest.mark.parametrize("cut", [(), ("balance.match_items=37", "slurm.elements=3")])
@pytest.mark.parametrize("target", [1, 60, 150])
def test_a_target_gives_the_captions_of_a_plain_loop_in_its_order(balance, captions, target, cut):
    source, raw = captions
    wanted, rejects = recompute(raw, target=target)
    assert len(wanted) == target
    assert rejects["no_match"] > 32 and rejects["duplicate"] > 100
    check(balance("balance", source, f"balance.target={target}", *cut), wanted, rejects)


@pytest.mark.parametrize("t", [0.5, 3, 20.25, 1000])
def test_a_fixed_threshold_keeps_what_metaclips_rule_keeps(balance, captions, t):
    source, raw = captions
    wanted, rejects = recompute(raw, t=t)
    usable = len(raw) - sum(rejects.values())
    assert (len(wanted) == usable) == (t == 1000)
    app = balance("balance", source, f"balance.t={t}", "balance.match_items=90")
    check(app, wanted, rejects)
    assert json.loads((app.path / "balance/coverage/data/000/00000.json").read_text())["threshold"] == t


def test_a_runs_own_captions_give_the_same_as_a_plain_loop(balance):
    app = balance("captions,balance", "captions.per_concept=30", "captions.shard_items=23", "balance.target=120")
    raw = [Raw(row["caption_id"], row["caption"], "captions") for row in app.captions()]
    assert len(raw) == 30 * len(BANK)
    check(app, *recompute(raw, target=120))


def test_a_new_run_over_the_captions_of_another_chooses_the_same(balance):
    words = ("captions.per_concept=30", "captions.shard_items=23", "concepts.exclude=unsafe.txt")
    Path("unsafe.txt").write_text("sea\n")
    app = balance("captions,balance", *words, "balance.target=90")
    again = balance("balance", f"balance.source={app.path / 'captions/write/data'}", words[-1], "balance.target=90")
    assert rows_without_source(again) == rows_without_source(app)
    larger = balance("balance", f"balance.source={app.path / 'captions/write/data'}", words[-1], "balance.target=130")
    assert {row["caption_id"] for row in rows_of(app.path)} < {row["caption_id"] for row in rows_of(larger.path)}


def rows_without_source(app: App) -> list[dict]:
    return [{**row, "source": ""} for row in rows_of(app.path)]


CASES = {
    # caption: what it names with exact, with first-word, with fold
    "Sea, snow": ("snow", "sea snow", "sea snow"),
    "Red fox": ("fox", "red fox+fox", "red fox+fox"),
    "A Fox at SEA": ("", "", "fox sea"),
    "X-ray": ("", "x-ray", "x-ray"),
    "DOG": ("", "", "dog"),
    "old house": ("old house+house",) * 3,
    "a bird": ("", "", ""),
}


@pytest.mark.parametrize(("place", "case"), list(enumerate(["exact", "first-word", "fold"])))
def test_each_case_names_what_it_forgives_and_drops_the_rest(balance, tmp_path, place, case):
    source = tmp_path / "captions.txt"
    source.write_text("".join(f"{text}\n" for text in CASES))
    app = balance("balance", f"balance.source={source}", f"balance.case={case}", "balance.mode=none")
    name_of = {hash64(b"item", "concept", entry): entry for entry in BANK}
    found = {row["caption"]: {name_of[one] for one in row["matched_concept_ids"]} for row in rows_of(app.path)}
    entries = {text: names[place].replace("+", " + ") for text, names in CASES.items()}
    wanted = {text: {entry for entry in BANK if f" {entry} " in f" {named} "} for text, named in entries.items()}
    assert found == {text: names for text, names in wanted.items() if names}
    seal = json.loads((app.path / "balance/match/seal.json").read_text())
    assert seal["totals"]["counts"]["rejects"] == {"no_match": sum(not names for names in wanted.values())}
