"""The list of a corpus's clips: in order, each once, and on disk only."""

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from lib.errors import UserError
from lib.files import ListDigest, digest
from lib.speech_listing import Listing, Source
from lib.speech_manifest import read_manifest


def source(path: str, **more: Any) -> Source:
    return Source(path=path, within=Path("corpus"), **more)


def test_sources_come_as_they_were_and_by_path_as_python_sorts() -> None:
    paths = ["b.wav", "\U0001f600.wav", "a/2.wav", "\uffee.wav", "B.wav", "a/10.wav", "ب.wav"]
    listed = Listing()
    for number, path in enumerate(paths):
        listed.add(source(path, member=None if number % 2 else f"in/{path}", transcript="سلام"))
    expected = {
        path: source(path, member=None if number % 2 else f"in/{path}", transcript="سلام")
        for number, path in enumerate(paths)
    }
    assert len(listed) == len(paths)
    assert [*listed] == [expected[path] for path in sorted(paths)]
    assert [*zip(listed, listed, strict=True)] == [(one, one) for one in listed]


def test_a_file_is_below_its_folder_or_is_the_zip_file() -> None:
    folder = Path("b\udcfferlin")  # a folder may have any name
    listed = Listing()
    listed.add(Source(path="a/1.wav", within=folder))
    listed.add(Source(path="a/2.wav", within=folder / "a.zip", member="2.wav"))
    assert [one.file for one in listed] == ["b\udcfferlin/a/1.wav", "b\udcfferlin/a.zip"]


def test_of_one_path_the_first_stays_and_its_line_is_told() -> None:
    listed = Listing()
    assert listed.add(source("a.wav", speaker="x"), line=7) is None
    assert listed.add(source("a.wav", speaker="y"), line=9) == 7
    assert [one.speaker for one in listed] == ["x"]
    assert len(listed) == 1


def test_a_name_that_is_not_unicode_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match=r"corpus: 'a\\udcff\.wav' .* rename it"):
        Listing().add(source("a\udcff.wav"))


def test_a_full_disk_is_one_line() -> None:
    listed = Listing()
    listed._database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(UserError, match=r"disk is full.*TMPDIR"):
        listed.add(source("a.wav", transcript="x" * 100_000))


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_digest_of_items_that_are_not_kept_is_that_of_their_list(n: int) -> None:
    items = [{"ب": number, "a": [None, "x\n"]} for number in range(n)]
    found = ListDigest()
    for item in items:
        found.add(item)
    assert found.hexdigest() == digest(items)


def test_a_table_of_many_clips_takes_no_memory(tmp_path: Path) -> None:
    n, bytes_each = 3000, 20  # pathlib alone would keep 100 bytes a name
    table = tmp_path / "manifest.csv"

    def write(n: int, start: int) -> None:
        rows = (f"clip-{start + number:06d}.wav,{'AB'[number % 2]}\n" for number in range(n))
        table.write_text("path,label\n" + "".join(rows))

    write(50, 0)
    read_manifest(table)  # what is imported and compiled but once
    write(n, 1000)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    corpus = read_manifest(table)
    assert sum(one.file.endswith(".wav") for one in corpus.sources) == n
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < n * bytes_each
