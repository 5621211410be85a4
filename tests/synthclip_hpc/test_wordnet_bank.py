"""The default bank: the first part of MetaCLIP's list, 86,654 entries, as it lies in the package."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from importlib import resources
from pathlib import Path

import pytest

from synthclip_hpc.captioning.banks import build_wordnet
from synthclip_hpc.captioning.banks.bank import read_bank
from synthclip_hpc.captioning.banks.listing import BUILT_IN_FILES
from synthclip_hpc.config import BUILT_IN_BANKS, RunConfig

BANKS = resources.files("synthclip_hpc") / "captioning" / "banks"
NUMERALS = [str(number) for number in range(100)]

HEAD = "  1 A licence.  \n  2   \n  3 Its end.  \n"
DATA = {
    "data.noun": HEAD
    + "00000001 06 n 01 .22_caliber 0 000 | a gloss\n"
    + "00000002 15 n 02 St._Petersburg 0 Leningrad 1 000 | a gloss\n"
    + "00000003 05 n 01 domestic_dog 0 000 | (a gloss)\n"
    + "00000004 23 n 02 forty-two 0 42 0 000 | a numeral among the others\n"
    + "00000005 23 n 02 42 0 XLII 0 000 | a numeral first\n",
    "data.verb": HEAD + "00000001 29 v 02 Dog 0 tail 0 000 00 | a gloss\n",
    "data.adj": HEAD + "00000001 00 s 01 galore(ip) 0 000 | a gloss\n00000002 00 a 01 elect(a) 0 000 | a gloss\n",
    "data.adv": HEAD + "00000001 02 r 01 a_cappella 0 000 | a gloss\n",
}


@pytest.fixture(scope="module")
def entries() -> list[str]:
    text = gzip.decompress((BANKS / "wordnet.txt.gz").read_bytes()).decode("ascii")
    assert text.endswith("\n")
    return text[:-1].split("\n")


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A tiny WordNet that the script takes for a real one."""
    data = {name: text.encode() for name, text in DATA.items()}
    monkeypatch.setattr(
        build_wordnet, "SHA256", {"tiny": {name: hashlib.sha256(text).hexdigest() for name, text in data.items()}}
    )
    return data


def test_it_is_the_default_bank_and_every_built_in_bank_has_its_file():
    assert RunConfig().concepts.bank == "wordnet"
    assert sorted(BUILT_IN_FILES) == sorted(BUILT_IN_BANKS)
    assert [name for name, file in BUILT_IN_FILES.items() if not (BANKS / file).is_file()] == []


def test_there_are_exactly_86654_distinct_entries_the_numerals_first_and_the_names_in_order(entries):
    assert len(entries) == len(set(entries)) == 86_654
    assert entries[:100] == NUMERALS
    assert entries[100:] == sorted(entries[100:])


def test_the_content_is_pinned(entries):
    content = "".join(f"{entry}\n" for entry in entries).encode()
    assert hashlib.sha256(content).hexdigest() == "3500f36f56b221bfb7ecefdb04338d2fa8579e135b378d285854c263b9935426"


def test_names_are_cut_where_metaclips_are(entries):
    known = set(entries)
    assert {"st", "ph", "c", "g", "d", "i", "o", "mr", "cf", "ibid", "et al", "lake st", "wrangell-st"} <= known
    assert {"domestic dog", "dog", "jack-o'-lantern", "galore", "'hood", "a cappella"} - known == {"domestic dog"}
    assert not [entry for entry in entries if "." in entry or "_" in entry or "(" in entry or entry != entry.lower()]


def test_reading_it_leaves_nothing_out_and_changes_nothing(entries):
    bank = read_bank("wordnet")
    assert bank.concepts == tuple(entries)
    assert (bank.entries_read, bank.rejects, bank.excluded) == (86_654, {}, frozenset())
    assert bank.sha256 == "2e646f2c2aabc02e9b314baafce7be231055a886d0e8ef868160424c24936e18"
    assert (bank.source, bank.summary()) == ("built in: wordnet", "86,654 concepts from wordnet")


def test_the_packed_bytes_tell_no_time():
    assert (BANKS / "wordnet.txt.gz").read_bytes()[4:8] == bytes(4)


def test_the_licence_lies_beside_it_whole():
    text = (BANKS / "LICENSE-wordnet.txt").read_text(encoding="ascii")
    assert text.startswith("This software and database is being provided to you, the LICENSEE, by\n")
    assert "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved." in text
    assert text.endswith("Princeton University and LICENSEE agrees to preserve same.\n")
    assert len(text.splitlines()) == 29


def test_a_name_is_the_first_lemma_lower_case_cut_at_a_full_stop_without_underscores_and_markers():
    names = {name: list(build_wordnet.synset_names(text.encode())) for name, text in DATA.items()}
    assert names == {
        "data.noun": ["", "st", "domestic dog", "forty-two", "42"],
        "data.verb": ["dog"],
        "data.adj": ["galore", "elect"],
        "data.adv": ["a cappella"],
    }


def test_the_empty_name_is_left_out_and_a_numeral_comes_once():
    concepts = build_wordnet.make_concepts({name: text.encode() for name, text in DATA.items()})
    assert concepts == [*NUMERALS, "a cappella", "dog", "domestic dog", "elect", "forty-two", "galore", "st"]


def archive_of(path: Path, sources: dict[str, bytes], folder: str) -> Path:
    for name, data in sources.items():
        (path.parent / name).write_bytes(data)
    with tarfile.open(path, "w:gz") as tar:
        for name in sources:
            tar.add(path.parent / name, f"{folder}{name}")
    return path


def test_a_folder_and_an_archive_are_read_alike(tmp_path, sources):
    folder = tmp_path / "unpacked" / "package" / "db"
    folder.mkdir(parents=True)
    for name, data in sources.items():
        (folder / name).write_bytes(data)
    archive = archive_of(tmp_path / "package.tgz", sources, "package/db/")
    for package in (folder, folder.parents[1], folder.parent, archive):
        assert build_wordnet.read_sources(package) == sources


def test_the_script_writes_what_its_check_then_finds_and_tells_a_difference(tmp_path, sources, monkeypatch, capsys):
    monkeypatch.setattr(build_wordnet, "BANK", tmp_path / "bank.txt.gz")
    monkeypatch.setattr(build_wordnet, "LICENCE", tmp_path / "LICENSE.txt")
    archive = str(archive_of(tmp_path / "package.tgz", sources, ""))
    assert build_wordnet.main([archive]) == 0
    assert (tmp_path / "LICENSE.txt").read_text() == "A licence.\n\nIts end.\n"
    assert read_bank(str(tmp_path / "bank.txt.gz")).concepts[100:102] == ("a cappella", "dog")
    assert build_wordnet.main([archive, "--check"]) == 0
    assert "bank.txt.gz is what the package gives: 107 concepts" in capsys.readouterr().out
    (tmp_path / "bank.txt.gz").write_bytes(gzip.compress(b"0\n1\n"))
    assert build_wordnet.main([archive, "--check"]) == 1
    assert "is NOT" in capsys.readouterr().out


def test_packages_that_are_not_the_known_ones_are_refused(tmp_path, sources, capsys):
    changed = {**sources, "data.adj": b"00000001 00 a 01 other 0 000 | a gloss\n"}
    missing = {name: data for name, data in sources.items() if name != "data.adv"}
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no archive")
    for package, words in (
        (archive_of(tmp_path / "changed.tgz", changed, "package/db/"), "data.adj has sha256"),
        (archive_of(tmp_path / "missing.tgz", missing, "package/db/"), "no data.adv in it"),
        (archive_of(tmp_path / "outside.tgz", sources, "../"), "no data.noun, data.verb, data.adj, data.adv in it"),
        (tmp_path / "empty", "no data.noun in it"),
        (tmp_path / "text", "cannot be read"),
        (tmp_path / "nowhere", "cannot be read"),
    ):
        assert build_wordnet.main([str(package), "--check"]) == 2
        said = capsys.readouterr().err
        assert words in said and str(package) in said


def test_a_link_in_an_archive_is_not_followed(tmp_path, sources):
    archive = tmp_path / "package.tgz"
    for name, data in sources.items():
        (tmp_path / name).write_bytes(data)
    with tarfile.open(archive, "w:gz") as tar:
        for name in sources:
            if name == "data.adv":
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / name)
                tar.addfile(link)
            else:
                tar.add(tmp_path / name, name)
    with pytest.raises(build_wordnet.SourceError, match=r"no data\.adv"):
        build_wordnet.read_sources(archive)
