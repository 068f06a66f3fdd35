"""What is kept of clips: what is read is what was written, and what is damaged counts as missing."""

import zlib

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from ser.data.clip_cache import file_of, find_clips, read_clips, write_clips

RNG = np.random.default_rng(0)
CLIPS = {
    f"{number:032x}": {"outputs": RNG.normal(size=(3, 5)).astype(np.float32), "timbre": RNG.integers(0, 9, 7, np.int16)}
    for number in range(4)
}


@pytest.fixture
def folder(tmp_path):
    write_clips(tmp_path / "features", CLIPS)
    return tmp_path / "features"


def check(found):
    read = read_clips(found)
    assert read.keys() == CLIPS.keys()
    for name, arrays in CLIPS.items():
        for key, values in arrays.items():
            assert read[name][key].dtype == values.dtype and np.array_equal(read[name][key], values)


def test_what_was_written_is_read_and_its_checksum_is_that_of_the_whole_file(folder):
    path = file_of(folder, CLIPS)
    with safe_open(path, framework="np") as file:
        told = file.metadata()["crc32"]
    assert zlib.crc32(path.read_bytes().replace(told.encode(), b"-" * 8, 1)) == int(told, 16)
    check(find_clips(folder, CLIPS))


@pytest.mark.parametrize("place", ["first", "middle", "last", "a clip's name"])
def test_a_file_with_one_other_byte_is_told_removed_and_made_again(folder, place, capsys):
    path = file_of(folder, CLIPS)
    check(find_clips(folder, CLIPS))  # also where this process has seen it whole
    content = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    at = {"first": begin, "middle": (begin + len(content)) // 2, "last": -1, "a clip's name": content.index(b"0" * 31)}[place]
    content[at] ^= 1
    path.write_bytes(content)
    assert find_clips(folder, CLIPS) == {} and not path.exists()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{path}: damaged (" in said and "computed again" in said
    write_clips(folder, CLIPS)
    check(find_clips(folder, CLIPS))


def test_files_from_before_there_were_checksums_are_taken_and_broken_ones_are_not(folder, capsys):
    path = file_of(folder, CLIPS)
    save_file({f"{name}.{key}": values for name, of in CLIPS.items() for key, values in of.items()}, path)
    check(find_clips(folder, CLIPS))
    path.write_bytes(path.read_bytes()[:-3])
    assert find_clips(folder, CLIPS) == {} and "damaged" in capsys.readouterr().err
