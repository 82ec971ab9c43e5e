"""Data sets from a real HTTP server on this machine: fetched, checked, resumed, unpacked, kept."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wakeword import cli
from wakeword.clips import data_sets, engine_neural
from wakeword.clips.data_sets import DATA_SETS, DataSet, Published, fetch_data_set, find_data_set, is_complete
from wakeword.errors import DataError, EncoderError, UsageError
from wakeword.train.download import fetch


class Handler(SimpleHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def tar_of(path: Path, *members: tuple[str, bytes | str]) -> None:
    """A .tar.gz of files; a member given as text is a link to that."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def data_set(path: Path, url: str, kind: str = "sha256") -> DataSet:
    digest = hashlib.new(kind, path.read_bytes()).hexdigest()
    published = Published(f"{url}/{path.name}", digest if kind == "sha256" else f"{kind}:{digest}")
    return DataSet("tiny", "for tests", (published,), 0.001, "CC0")


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_fetched_checked_unpacked_and_kept(served: tuple[Path, str], tmp_path: Path, kind: str) -> None:
    folder, url = served
    tar_of(folder / "speech.tar.gz", ("Libri/84/a.flac", b"sound"), ("Libri/README", b"text"))
    data = data_set(folder / "speech.tar.gz", url, kind)
    where = fetch_data_set(data, fetch, tmp_path / "data")
    assert (where / "Libri" / "84" / "a.flac").read_bytes() == b"sound"
    assert is_complete(data, tmp_path / "data")
    assert {p.name for p in where.iterdir()} == {"Libri", ".complete"}
    assert fetch_data_set(data, fetch, tmp_path / "data") == where
    assert Handler.asked == ["/speech.tar.gz"]


def test_zip(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = served
    with zipfile.ZipFile(folder / "rirs.zip", "w") as archive:
        archive.writestr("RIRS/a.wav", b"room")
    where = fetch_data_set(data_set(folder / "rirs.zip", url), fetch, tmp_path)
    assert (where / "RIRS" / "a.wav").read_bytes() == b"room"


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_wrong_content_is_not_kept(served: tuple[Path, str], tmp_path: Path, kind: str) -> None:
    folder, url = served
    tar_of(folder / "speech.tar.gz", ("a", b"sound"))
    data = data_set(folder / "speech.tar.gz", url, kind)
    tar_of(folder / "speech.tar.gz", ("a", b"something else"))
    with pytest.raises(EncoderError, match="expected"):
        fetch_data_set(data, fetch, tmp_path / "data")
    assert not is_complete(data, tmp_path / "data")
    assert list((tmp_path / "data" / "tiny").iterdir()) == []


@pytest.mark.parametrize(
    ("member", "content"), [("../out", b"x"), ("/etc/out", b"x"), ("link", "/etc/passwd"), ("a\\b", b"x")]
)
def test_an_archive_that_reaches_outside_is_refused(
    served: tuple[Path, str], tmp_path: Path, member: str, content: bytes | str
) -> None:
    folder, url = served
    tar_of(folder / "evil.tar.gz", (member, content))
    with pytest.raises(DataError, match="holds"):
        fetch_data_set(data_set(folder / "evil.tar.gz", url), fetch, tmp_path / "data")
    assert not (tmp_path / "out").exists()


def test_broken_archives(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, url = served
    for name in ("a.tar.gz", "b.zip"):
        (folder / name).write_bytes(b"not an archive")
        with pytest.raises(DataError, match="a broken archive"):
            fetch_data_set(data_set(folder / name, url), fetch, tmp_path / name)


def test_a_voice_goes_where_piper_voices_are_looked_for(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, url = served
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    (folder / "en_GB-x-medium.onnx").write_bytes(b"model")
    (folder / "en_GB-x-medium.onnx.json").write_text(
        '{"audio": {"sample_rate": 16000}, "espeak": {"voice": "en"}, "num_speakers": 2}'
    )
    files = [data_set(p, url, "md5").files[0] for p in sorted(folder.iterdir())]
    fetch_data_set(DataSet("piper-x", "", tuple(files), 0.1, "", is_voice=True), fetch)
    names = [v.name for v in engine_neural.piper_voices("en")]
    assert "en_GB-x-medium#0" in names and "en_GB-x-medium#1" in names


def test_names() -> None:
    assert find_data_set("librispeech").name == "librispeech-dev-clean"
    assert find_data_set("MUSAN").name == "musan"
    with pytest.raises(UsageError, match="choose one of librispeech-dev-clean"):
        find_data_set("voxceleb")


def test_checksums_are_those_of_torchaudio() -> None:
    from torchaudio.datasets import librispeech, speechcommands

    official = {**librispeech._CHECKSUMS, **speechcommands._CHECKSUMS}
    for data in DATA_SETS.values():
        for file in data.files:
            theirs = official.get(file.url.replace("https://", "http://"))
            assert theirs == file.checksum if theirs else file.checksum.startswith("md5:")
    assert len({file.url for data in DATA_SETS.values() for file in data.files} & set(official)) >= 1


def test_command(
    served: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, url = served
    tar_of(folder / "musan.tar.gz", ("musan/noise/a.wav", b"hiss"))
    small = replace(DATA_SETS["musan"], files=data_set(folder / "musan.tar.gz", url).files)
    monkeypatch.setitem(data_sets.DATA_SETS, "musan", small)
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path / "cache"))
    assert cli.main(["data", "fetch", "musan"]) == 0
    assert (tmp_path / "cache" / "data" / "musan" / "musan" / "noise" / "a.wav").is_file()
    assert cli.main(["data", "list"]) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "cache" / "data" / "musan") in printed and "librispeech-dev-clean" in printed
    assert cli.main(["data", "fetch", "nothing"]) == 2
    (folder / "musan.tar.gz").unlink()
    assert cli.main(["data", "fetch", "musan", "--out", str(tmp_path / "other")]) == 1
    assert "404" in capsys.readouterr().err
