"""`python -m evals.prepare NAME root=DIR source=PATH`: a data set as a folder that every task of `evals` reads.

The source is on this machine already; nothing is downloaded unless download=true asks for it. What is made is
DIR/NAME in CLIP_benchmark's layout, with the SHA-256 of each file in checksums.json; it appears in one piece, or not.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from evals import catalogue
from evals.catalogue import DataSetInfo
from evals.catalogue_help import facts_of, overview
from evals.checksums import FILE, read_checksums, record_checksums, verify_checksums
from evals.counts import Counts, check_classes, check_counts, check_folder, counts_of_source
from evals.data_writer import put_in_place, write_lines, write_split
from evals.errors import EvalError, nearest, run_command
from evals.folder import SPLITS, open_folder
from evals.options import describe, parse, split_words
from evals.sources.choose import is_benchmark_folder, open_source
from evals.sources.class_names import prompt_names
from evals.sources.samples import Source

_HELP = ("-h", "--help", "help")
_LICENCE = "licence.txt"


@dataclass(frozen=True)
class Options:
    """The keys of the command line."""

    root: Annotated[str, "folder of data sets; this one becomes ROOT/NAME"]
    source: Annotated[
        str, "torchvision's root, class folders or an archive of them, a folder of the hub's, hub:ID, or a data folder"
    ] = ""
    captions: Annotated[str, "of a retrieval set: Karpathy's JSON, or a table image,caption; images in source="] = ""
    splits: Annotated[str, "which to make, with a comma between; empty: all that the data set has"] = ""
    samples_per_shard: Annotated[int, "samples in a tar"] = 1000
    any_count: Annotated[bool, "true: take other numbers of images and captions, as of a sample of all classes"] = False
    download: Annotated[bool, "true: let torchvision, or the hub's library, download into source="] = False
    check: Annotated[bool, "true: verify ROOT/NAME by its checksums and counts, make nothing"] = False


def main(argv: Sequence[str]) -> int:
    """Prepare or check one data set, or print help. Raises EvalError."""
    if not argv or argv[0] in _HELP:
        print(overview(__doc__ or "", describe(Options)))
        return 0
    asks_help = any(word in _HELP for word in argv)
    name, given = split_words([word for word in argv if word not in _HELP], "the name of a data set")
    info = catalogue.find(name)
    if asks_help:
        print(f"{facts_of(info)}\n\nkeys:\n{describe(Options)}")
        return 0
    options = parse(Options, given, f"prepare {info.name}", f"python -m evals.prepare {info.name}")
    print(check(info, options) if options.check else prepare(info, options))
    return 0


def prepare(info: DataSetInfo, options: Options) -> str:
    """Make ROOT/NAME, or record the checksums of a folder that is there; return what to tell. Raises EvalError."""
    splits = _asked_splits(info, options)
    if options.samples_per_shard < 1:
        raise EvalError(f"samples_per_shard={options.samples_per_shard}: must be 1 or more")
    root = Path(options.root).expanduser()
    there = info.find(root)
    if there is not None:
        return _record(info, there, options)
    if is_benchmark_folder(options.source):
        return _copy(info, root / info.folder, options)
    return _convert(info, root / info.folder, splits, options)


def _record(info: DataSetInfo, there: Path, options: Options) -> str:
    """Verify the counts of a folder that lies where it will be looked for, and record its checksums, once."""
    if (there / FILE).is_file():
        return f"{info.name}: {there} is there already; check=true verifies it, and removing it lets it be made anew"
    if not options.source or Path(options.source).expanduser().resolve() != there.resolve():
        raise EvalError(
            f"root={options.root}: {there} is there, without {FILE}; source={there} verifies its counts and records "
            "checksums, or remove it to have it made anew"
        )
    counts = check_folder(info, open_folder(there), options.any_count)
    record_checksums(there, _facts(info, counts, options.any_count))
    return f"{info.name}: {there}: {_told(counts)}; checksums recorded in {FILE}"


def _copy(info: DataSetInfo, target: Path, options: Options) -> str:
    """Copy a folder that has the layout already, when its counts are right."""
    given = open_folder(options.source)
    counts = check_folder(info, given, options.any_count)
    with put_in_place(target) as part:
        shutil.copytree(given.path, part, dirs_exist_ok=True, ignore=_hidden)
        if not (part / _LICENCE).exists():
            _write_licence(info, part)
        record_checksums(part, _facts(info, counts, options.any_count))
    return f"{info.name}: {target}: {_told(counts)}, copied\nlicence: {info.licence}"


def _convert(info: DataSetInfo, target: Path, splits: Sequence[str], options: Options) -> str:
    """Write a data set from a source of another form, when its counts are right."""
    source = open_source(info, options.source, options.captions, splits, options.download)
    names = _checked(info, source, splits, options)
    counts = counts_of_source(source, splits)
    with put_in_place(target) as part:
        for split in splits:
            write_split(part, split, source.splits[split], options.samples_per_shard)
        _write_texts(info, part, names)
        record_checksums(part, _facts(info, counts, options.any_count))
    return f"{info.name}: {target}: {_told(counts)}, from {source.kind}\nlicence: {info.licence}"


def check(info: DataSetInfo, options: Options) -> str:
    """Verify the checksums and counts of a folder; return what to tell. Raises EvalError."""
    there = info.find(options.root)
    if there is None:
        raise EvalError(f"root={options.root}: no {info.folder} in it; prepare it: source=…")
    files = verify_checksums(there)
    sample = bool(read_checksums(there).get("any_count"))
    counts = check_folder(info, open_folder(there), sample or options.any_count)
    more = "; prepared with any_count=true, so not the whole data set" if sample else ""
    return f"{info.name}: {there}: {files} files as recorded; {_told(counts)}{more}"


def _asked_splits(info: DataSetInfo, options: Options) -> list[str]:
    words = [word.strip() for word in options.splits.split(",")]
    asked = [word for word in dict.fromkeys(words) if word] or list(info.splits)
    for word in asked:
        if word not in SPLITS or (word not in info.splits and word != "val"):
            raise EvalError(
                f"splits={options.splits}: {info.name} has no {word}{nearest(word, info.splits)}; valid are "
                f"{', '.join(info.splits)}"
            )
    return asked


def _checked(info: DataSetInfo, source: Source, splits: Sequence[str], options: Options) -> list[str]:
    """Return the class names for prompts. Raises EvalError for what is missing, or another number."""
    if missing := [split for split in splits if not source.splits.get(split)]:
        have = [split for split, samples in source.splits.items() if samples]
        raise EvalError(
            f"source={options.source}: {info.name} has {', '.join(splits)}, but no {', '.join(missing)} is there; "
            f"complete it, or go without: splits={','.join(have)}"
        )
    names = prompt_names(info, source.classes)
    place = f"source={options.source}"
    check_classes(info, names, place)
    if not options.any_count:
        check_counts(info, counts_of_source(source, splits), names, place)
    return names


def _write_texts(info: DataSetInfo, folder: Path, names: Sequence[str]) -> None:
    if info.kind == "retrieval":
        write_lines(folder / "dataset_type.txt", ["retrieval"])
    else:
        write_lines(folder / "classnames.txt", names)
        write_lines(folder / "zeroshot_classification_templates.txt", catalogue.prompts_of(info))
    _write_licence(info, folder)


def _write_licence(info: DataSetInfo, folder: Path) -> None:
    write_lines(folder / _LICENCE, [f"{info.title}: {info.licence}. {info.reference}. {info.homepage}"])


def _facts(info: DataSetInfo, counts: Mapping[str, Counts], any_count: bool) -> dict[str, object]:
    images = {split: count.images for split, count in counts.items()}
    facts = {"schema": 1, "name": info.name, "licence": info.licence, "homepage": info.homepage, "images": images}
    return {**facts, "any_count": True} if any_count else facts


def _hidden(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(".")]


def _told(counts: Mapping[str, Counts]) -> str:
    return ", ".join(f"{count.images:,} images in {split}" for split, count in counts.items())


if __name__ == "__main__":
    sys.exit(run_command(main))
