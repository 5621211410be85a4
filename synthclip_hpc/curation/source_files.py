"""The files of a caption source: which they are, in which form and order, how they are opened, what they give."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from sharding.canonical import fingerprint
from synthclip_hpc.curation.braces import expand_braces
from synthclip_hpc.errors import UserError
from synthclip_hpc.fingerprints import sample_file
from synthclip_hpc.remembered import stamps

if TYPE_CHECKING:
    import pyarrow

FORMS = {".parquet": "Parquet", ".tsv": "TSV", ".txt": "text", ".tar": "WebDataset"}
PACKINGS = (".gz", ".zst")
PACKED_FORMS = ("TSV", "text")
VALID = (
    "a .parquet, .tsv, .txt (these two also .gz, .zst) or .tar (WebDataset), a folder of files of one of these forms, "
    "or a list of them with braces, such as 'folder/{00000..00331}.tar'"
)
TEXTS = ("concept", "source", "reject_reason")
INTEGERS = ("caption_id", "concept_id", "n")
_MIN_SAMPLES = 4
_SAMPLES = 256
_NAMED = 5


class Columns(NamedTuple):
    """Rows as a file has them."""

    arrays: dict[str, pyarrow.Array]
    """`caption` and, where the file has them, those in TEXTS and INTEGERS; more do no harm. Texts are large_binary, as
    nothing has looked whether they are UTF-8; numbers are what the file has, or their texts."""
    misfit: npt.NDArray[np.bool_]
    """Rows that are none, such as those with another number of columns than the header."""
    misfit_reason: str = "wrong_columns"
    """Reject reason of these."""


class SourceFiles(NamedTuple):
    """The files of a source."""

    form: str
    """One of the values of FORMS."""
    files: list[Path]
    """Absolute, in the order of their names below the folder."""
    others: list[str]
    """Names of the files of a folder that are in none of the forms; they are not read."""

    def fingerprint(self) -> str:
        """Return one sha256 over form, sizes and samples of all files in order (16 MiB at least); see `sample_file`.

        Names do not count: what is read follows from content and order.
        """
        samples = max(_MIN_SAMPLES, _SAMPLES // len(self.files))
        return fingerprint([self.form, [_sample(file, samples) for file in self.files]])


class SourceFileError(UserError):
    """What is wrong with one file of a source; the argument that named it is told by who knows it (CaptionSource)."""


def find_files(path: str | Path, argument: str = "balance.source") -> SourceFiles:
    """Find the files of `balance.source=PATH`: the file itself, all below a folder (names that begin with `.` or `_`
    are passed over), or those that braces list, in the order of the list.

    Raises UserError, which names `argument`, when there is none, when a form is not known, and when forms are mixed.
    """
    root = Path(path).expanduser().resolve()
    told = f"{argument}={path}"
    if root.is_file():
        return SourceFiles(_form_of_file(root, told), [root], [])
    if not root.exists() and (names := expand_braces(str(path), told)):
        return _listed([Path(name).expanduser().resolve() for name in names], told)
    if not root.is_dir():
        raise UserError(f"{told}: there is no such file or folder. Valid: {VALID}")
    below = {file.relative_to(root): file for file in root.rglob("*") if file.is_file()}
    seen = {name.as_posix(): file for name, file in below.items() if not any(part[0] in "._" for part in name.parts)}
    forms: dict[str | None, list[str]] = {}
    for name in sorted(seen):
        forms.setdefault(form_of(seen[name]), []).append(name)
    others = forms.pop(None, [])
    if not forms:
        found = f"it holds {', '.join(others[:_NAMED])}" if others else "it is empty"
        raise UserError(f"{told}: no captions in this folder ({found}). Valid: {VALID}")
    if len(forms) > 1:
        examples = " and ".join(f"{len(names)} {form} ({names[0]})" for form, names in sorted(forms.items(), key=str))
        raise UserError(
            f"{told}: files of several forms, {examples}; put those to read into a folder of their own, or list them "
            "with braces"
        )
    ((form, names),) = forms.items()
    assert form is not None
    return SourceFiles(form, [seen[name] for name in names], others)


def _listed(files: list[Path], told: str) -> SourceFiles:
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{told}: {len(missing)} of the {len(files)} files that it lists are not there, the first is {missing[0]}"
        )
    forms = {_form_of_file(file, told) for file in files}
    if len(forms) > 1:
        raise UserError(f"{told}: files of several forms, {' and '.join(sorted(forms))}; list those of one form")
    return SourceFiles(forms.pop(), files, [])


def _form_of_file(file: Path, told: str) -> str:
    form = form_of(file)
    if form is None:
        raise UserError(f"{told}: a file of this kind is not read. Valid: {VALID}")
    return form


def form_of(file: Path) -> str | None:
    """Return the form that a file's name tells, None for one that is not read."""
    packed = file.suffix.lower() in PACKINGS
    form = FORMS.get((file.with_suffix("") if packed else file).suffix.lower())
    return None if packed and form not in PACKED_FORMS else form


def refuse(file: Path, reason: str) -> NoReturn:
    """Raise SourceFileError about one file."""
    raise SourceFileError(f"{file}: {reason}")


@contextmanager
def telling_damage(file: Path) -> Iterator[None]:
    """Turn what reading a file of lines may raise into UserError."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        refuse(file, f"cannot be read ({error.args[-1] if error.args else error}); fetch or make it again")


def open_unpacked(file: Path) -> BinaryIO:
    """Open a file's bytes, unpacked."""
    suffix = file.suffix.lower()
    if suffix == ".zst":
        import pyarrow

        stream: BinaryIO = pyarrow.CompressedInputStream(pyarrow.OSFile(str(file)), "zstd")
        return stream
    return gzip.open(file) if suffix == ".gz" else file.open("rb")  # type: ignore[return-value]


def index_key(file: Path) -> list[Any]:
    """Return what an index of a file's rows follows from: path, size and time, and samples of the content.

    A copy may keep the time of what it replaces, and a tar of one sample more its size.
    """
    return [*stamps([file]), sample_file(file, _MIN_SAMPLES)]


def _sample(file: Path, samples: int) -> list[object]:
    with telling_damage(file):
        return sample_file(file, samples)
