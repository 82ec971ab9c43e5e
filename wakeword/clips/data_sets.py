"""Published recordings to train and judge with: where they come from, checked by their publishers' sums.

SHA-256 sums are those of torchaudio 2.11 (`torchaudio.datasets`), MD5 sums those of OpenSLR and of Piper's
list of voices (rhasspy/piper, voices.json).
"""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wakeword.cache import cache_dir
from wakeword.clips.engine_neural import piper_folders
from wakeword.errors import DataError, UsageError

SLR = "https://www.openslr.org/resources"
PIPER_VOICES = "https://huggingface.co/rhasspy/piper-voices/resolve/main"
DONE = ".complete"
ARCHIVES = (".tar.gz", ".zip")


@dataclass(frozen=True)
class Published:
    """One file as its publisher has it."""

    url: str
    checksum: str
    """SHA-256 in hex, or "md5:" and an MD5."""

    @property
    def name(self) -> str:
        """Its file name."""
        return PurePosixPath(self.url).name


@dataclass(frozen=True)
class DataSet:
    """Recordings in an archive, or a voice for Piper."""

    name: str
    about: str
    files: tuple[Published, ...]
    gigabytes: float
    """To download; archives take about as much again unpacked."""
    licence: str
    is_voice: bool = False


def _libri(part: str, sha256: str, gigabytes: float) -> DataSet:
    about = "read English, 16 kHz"
    url = f"{SLR}/12/{part}.tar.gz"
    return DataSet(f"librispeech-{part}", about, (Published(url, sha256),), gigabytes, "CC-BY-4.0")


def _voice(name: str, about: str, gigabytes: float, model_md5: str, config_md5: str) -> DataSet:
    url = f"{PIPER_VOICES}/en/en_GB/{name}/medium/en_GB-{name}-medium.onnx"
    files = Published(url, f"md5:{model_md5}"), Published(f"{url}.json", f"md5:{config_md5}")
    return DataSet(f"piper-{name}", f"voice for Piper: {about}", files, gigabytes, "see its MODEL_CARD", True)


DATA_SETS = {
    data.name: data
    for data in (
        _libri("dev-clean", "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3", 0.3),
        _libri("dev-other", "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365", 0.3),
        _libri("test-clean", "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23", 0.3),
        _libri("test-other", "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29", 0.3),
        _libri("train-clean-100", "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2", 6.3),
        _libri("train-clean-360", "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf", 23.0),
        _libri("train-other-500", "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2", 30.0),
        DataSet(
            "speech-commands",
            "35 single words by 2,600 people, and background noise",
            (
                Published(
                    "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
                    "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
                ),
            ),
            2.3,
            "CC-BY-4.0",
        ),
        DataSet(
            "musan",
            "music, speech and noise, 109 hours",
            (Published(f"{SLR}/17/musan.tar.gz", "md5:0c472d4fc0c5141eca47ad1ffeb2a7df"),),
            11.0,
            "CC-BY-4.0 and public domain, by file",
        ),
        DataSet(
            "rirs-noises",
            "simulated and real room responses, and noise",
            (Published(f"{SLR}/28/rirs_noises.zip", "md5:e6f48e257286e05de56413b4779d8ffb"),),
            1.3,
            "Apache-2.0",
        ),
        _voice(
            *("vctk", "109 British and other speakers of English", 0.08),
            *("573025290fdc68812543b7438ace0c29", "0eca51508c23837212e7c35d51c4a1fb"),
        ),
        _voice(
            *("aru", "12 British speakers", 0.08),
            *("7862d75539b8ef867e7c04e772d323ea", "00b26fa5bfc67a6a11845b1f39c33ad1"),
        ),
    )
}
ALIASES = {"librispeech": "librispeech-dev-clean"}
"""The short name is a small part of it."""

Fetch = Callable[[str, str, Path], Path]
"""Downloads a URL with a checksum to a path, as `wakeword.train.download.fetch` does."""


def find_data_set(name: str) -> DataSet:
    """The data set of a name; UsageError naming the choices."""
    known = ALIASES.get(name.lower(), name.lower())
    if known not in DATA_SETS:
        raise UsageError(f"no data set {name!r}; choose one of {', '.join(DATA_SETS)}")
    return DATA_SETS[known]


def data_folder(data: DataSet, root: Path | None = None) -> Path:
    """Where it lies once fetched: below `root`, else in the cache folder; voices where Piper's are."""
    if root is None:
        root = piper_folders()[-1] if data.is_voice else cache_dir() / "data"
    return root / data.name


def is_complete(data: DataSet, root: Path | None = None) -> bool:
    """Whether it is there, unpacked to its end."""
    return (data_folder(data, root) / DONE).is_file()


def fetch_data_set(data: DataSet, fetch: Fetch, root: Path | None = None) -> Path:
    """Fetch, check and unpack a data set unless it is there; return its folder.

    A broken-off download is resumed. Raises DataError for an archive that is broken or holds anything but
    plain files and folders below it, and for a full disk; and what `fetch` raises.
    """
    folder = data_folder(data, root)
    if is_complete(data, root):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file in data.files:
            path = fetch(file.url, file.checksum, folder / file.name)
            if path.name.endswith(ARCHIVES):
                unpack(path, folder)
                path.unlink()
        lines = "".join(f"{file.url} {file.checksum}\n" for file in data.files)
        (folder / DONE).write_text(lines, encoding="utf-8")
    except OSError as err:
        raise DataError(f"cannot keep {data.name} in {folder}: {err.strerror or err}") from err
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .tar.gz or .zip; DataError for a broken one, and for one that would write elsewhere."""
    try:
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as packed:
                for name in packed.namelist():
                    _require_below(name, archive)
                packed.extractall(folder)
            return
        with tarfile.open(archive) as packed_tar:
            for member in packed_tar:
                _require_below(member.name, archive)
                if not (member.isfile() or member.isdir()):
                    raise DataError(f"{archive}: holds {member.name!r}, which is neither a file nor a folder")
                packed_tar.extract(member, folder, set_attrs=False)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as err:
        raise DataError(f"{archive}: a broken archive ({err})") from err


def _require_below(name: str, archive: Path) -> None:
    if os.path.isabs(name) or ".." in PurePosixPath(name).parts or "\\" in name:  # noqa: PTH117
        raise DataError(f"{archive}: holds {name!r}, which would be written outside; not unpacked")
