"""The clip store: decoded once, found again by content, whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import ser
from ser.audio import UNUSABLE, decode, decode_all, to_float
from ser.config import DataConfig
from ser.data import hashes
from ser.data.clip_cache import write_clips
from ser.data.hashes import hash_files
from ser.data.store import ClipStore, UnusableClip
from ser.runtime.errors import UserError
from sounds import KINDS, STEREO, tone, write_soundfile, write_wav


@pytest.fixture
def config(tmp_path):
    return DataConfig(cache=str(tmp_path / "cache"))


@pytest.fixture
def paths(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    return [write_wav(folder / f"{number}.wav", tone(0.2 + number / 10, hz=200 + number)) for number in range(5)]


def stores_in(config: DataConfig) -> list[Path]:
    return sorted(Path(config.cache).glob("clips-*"))


def test_clips_are_those_of_decode_in_the_order_given(paths, config):
    order = [paths[row] for row in (3, 0, 4, 0)]
    store = ClipStore.open(order, config)
    assert len(store) == 4
    assert store.usable.all()
    for row, path in enumerate(order):
        np.testing.assert_array_equal(store[row], to_float(decode(path).samples))
        assert store[row].dtype == np.float32
        assert store.frames[row] == len(store[row])
    np.testing.assert_array_equal(store[-1], store[1])


def test_every_kind_of_file_is_reported_as_decoded_and_only_usable_ones_are_given(tmp_path, config):
    paths = []
    for number, kind in enumerate(KINDS.values()):
        (tmp_path / str(number)).mkdir()
        paths.append(kind.make(tmp_path / str(number)))
    for _ in range(2):  # decoded, then read back
        store = ClipStore.open(paths, config)
        assert store.report["path"].tolist() == [str(path) for path in paths]
        for row, path in enumerate(paths):
            clip, facts = decode(path), store.report.iloc[row]
            assert (facts["status"], facts["notes"], facts["detail"]) == (clip.status, " ".join(clip.notes), clip.detail)
            assert (facts["source_rate"], facts["source_channels"]) == (clip.source_rate, clip.source_channels)
            assert facts["seconds"] == pytest.approx(clip.seconds)
            np.testing.assert_allclose([facts["peak_db"], facts["rms_db"]], [clip.peak_db, clip.rms_db], rtol=1e-6)
            assert store.usable[row] == (clip.status not in UNUSABLE)
            if clip.usable:
                np.testing.assert_array_equal(store[row], to_float(clip.samples))
                assert facts["audio_hash"]
            else:
                assert (store.frames[row], facts["audio_hash"]) == (0, "")
                with pytest.raises(UnusableClip, match=clip.status):
                    store[row]


def test_only_unreadable_files_and_no_files_at_all_are_fine(tmp_path, config):
    store = ClipStore.open([tmp_path / "a.wav", tmp_path / "b.wav", "c\0.wav"], config)
    assert store.report["status"].tolist() == ["missing"] * 3
    assert store.report["file_hash"].tolist() == [""] * 3
    assert not store.usable.any()
    empty = ClipStore.open([], config)
    assert (len(empty), len(empty.report), empty.usable.dtype) == (0, 0, bool)


def test_taken_rows_are_a_store_of_their_own(paths, config, tmp_path):
    store = ClipStore.open([paths[0], tmp_path / "missing.wav", paths[1], paths[2]], config)
    usable, order = store.take(store.usable), store.take([3, 0])
    assert (len(usable), usable.usable.all()) == (3, True)
    assert usable.report["path"].tolist() == [str(path) for path in paths[:3]]
    np.testing.assert_array_equal(usable[1], store[2])
    np.testing.assert_array_equal(order[0], store[3])
    assert len(store.take([])) == 0


def decoded_files(monkeypatch) -> list[str]:
    """The files that are decoded from here on, as they come."""
    seen = []

    def counted(paths, *settings):
        seen.extend(map(str, paths))
        return decode_all(paths, *settings)

    monkeypatch.setattr("ser.data.store.decode_all", counted)
    return seen


def test_files_that_change_while_they_are_decoded_get_into_no_store(paths, config, monkeypatch):
    real = decode_all

    def and_then_change(*arguments):
        yield from real(*arguments)
        write_wav(paths[3], tone(0.7))

    monkeypatch.setattr("ser.data.store.decode_all", and_then_change)
    with pytest.raises(UserError, match=r"3\.wav: changed while it was being decoded \(1 such"):
        ClipStore.open(paths, config)
    monkeypatch.undo()
    np.testing.assert_array_equal(ClipStore.open(paths, config)[3], to_float(decode(paths[3]).samples))


def test_strange_names_are_no_obstacle(tmp_path, config):
    names = ["a\nb.wav", "a.w\rv", "a,b.wav", '"a".wav', "a.웨이브", "a.wav ", ".wav", "nan.wav", "-.wav", "\udcff.wav", "a.\udcff"]
    paths = [write_wav(tmp_path / "plain", tone(hz=100 + row)).rename(tmp_path / name) for row, name in enumerate(names)]
    for _ in range(2):
        store = ClipStore.open(paths, config)
        assert store.report["status"].tolist() == ["ok"] * len(names)
        for row, path in enumerate(paths):
            np.testing.assert_array_equal(store[row], to_float(decode(path).samples))
    assert len(stores_in(config)) == 1
    store.report.to_csv(tmp_path / "report.csv")


def test_equal_audio_has_an_equal_hash_whatever_the_container(tmp_path, config):
    wave = np.round(tone() * 32768) / 32768
    paths = [
        write_wav(tmp_path / "a.wav", wave),
        write_soundfile(tmp_path / "b.flac", wave, 16_000, "FLAC"),
        write_wav(tmp_path / "c.wav", tone(hz=99)),
    ]
    report = ClipStore.open(paths, config).report
    assert report["audio_hash"][0] == report["audio_hash"][1] != report["audio_hash"][2]
    assert report["file_hash"].nunique() == 3


def test_the_second_time_nothing_is_decoded_or_written(paths, config, monkeypatch):
    ClipStore.open(paths, config)
    before = {path: path.stat().st_mtime_ns for path in Path(config.cache).rglob("*")}
    monkeypatch.setattr("ser.data.store.decode_all", None)
    store = ClipStore.open(paths, config)
    assert store[0].any()
    assert {path: path.stat().st_mtime_ns for path in Path(config.cache).rglob("*")} == before


def test_a_store_is_found_again_after_the_data_moved_or_in_another_order(paths, config):
    ClipStore.open(paths, config)
    moved = paths[0].parent.rename(paths[0].parent.with_name("elsewhere"))
    store = ClipStore.open(sorted(moved.iterdir(), reverse=True), config)
    assert len(stores_in(config)) == 1
    np.testing.assert_array_equal(store[4], to_float(decode(moved / "0.wav").samples))


def test_a_changed_file_costs_one_decoding(paths, config, monkeypatch):
    before = ClipStore.open(paths, config)
    decoded = decoded_files(monkeypatch)
    write_wav(paths[1], tone(0.3, hz=999))
    changed = ClipStore.open(paths, config)
    assert decoded == [str(paths[1])]
    for row, path in enumerate(paths):
        np.testing.assert_array_equal(changed[row], to_float(decode(path).samples))
    assert before[1].any(), "a store that is in use keeps its clips"
    assert len(stores_in(config)) == 1


def test_files_that_come_one_by_one_share_one_folder(paths, config):
    for path in paths:
        ClipStore.open([path], config)
    (folder,) = stores_in(config)
    assert {path.name.split("-")[0] for path in folder.iterdir()} == {"audio", "index.jsonl", "lock"}
    assert {path.name for path in Path(config.cache).iterdir()} <= {folder.name, "file_hashes.csv"}


def test_other_settings_and_another_extension_are_decoded_anew_under_the_same_identity(paths, config, monkeypatch):
    whole = ClipStore.open(paths, config)
    cut = ClipStore.open(paths, DataConfig(cache=config.cache, max_seconds=0.25))
    assert (cut.frames == [3200, 4000, 4000, 4000, 4000]).all()
    assert cut.report["file_hash"].tolist() == whole.report["file_hash"].tolist()
    assert cut.report["audio_hash"][3] != whole.report["audio_hash"][3]
    renamed = paths[2].rename(paths[2].with_suffix(".mp3"))
    assert ClipStore.open([*paths[:2], renamed], config).report["notes"][2] == "wrong_extension"
    assert len(stores_in(config)) == 2


def test_clips_in_memory_read_like_those_of_files(paths):
    samples = [decode(path).samples for path in paths]
    store = ClipStore.of_samples(samples)
    assert (store.usable.all(), store.longest(np.array([1, 4])), store.folder) == (True, "0.6 s", None)
    for row in range(len(paths)):
        np.testing.assert_array_equal(store[row], to_float(samples[row]))
    np.testing.assert_array_equal(store.take([3])[0], store[3])


def test_a_file_changed_within_its_size_and_time_is_noticed(paths, config):
    """The memory of file hashes goes by change time too, which no program can set back."""
    old = time.time() - 100
    os.utime(paths[0], (old, old))
    first = hash_files(paths, config.cache)
    data = bytearray(paths[0].read_bytes())
    data[-1] ^= 1
    paths[0].write_bytes(data)
    os.utime(paths[0], (old, old))
    second = hash_files(paths, config.cache)
    assert first[0] != second[0]
    assert first[1:] == second[1:]


def test_file_hashes_are_remembered_once_a_file_has_settled(paths, config, monkeypatch):
    monkeypatch.setattr("ser.data.hashes.SETTLED_SECONDS", 0.0)
    time.sleep(0.05)
    first = hash_files(paths, config.cache)
    monkeypatch.setattr("ser.data.hashes._hash", None)  # nothing is read again
    assert hash_files(paths, config.cache) == first


def test_a_damaged_memory_of_hashes_is_no_memory(paths, config):
    first = hash_files(paths, config.cache)
    for text in ("", "nonsense", "state,hash\nabc\n", "state,hash\n" + "0" * 32 + ",zzz\n", "\0\0\0"):
        Path(config.cache).mkdir(exist_ok=True)
        (Path(config.cache) / "file_hashes.csv").write_text(text)
        assert hash_files(paths, config.cache) == first


@pytest.mark.parametrize("damage", ["shorter audio", "no audio", "no index", "nonsense", "half a row", "another offset", "another form"])
def test_a_damaged_store_is_built_again_and_says_so(damage, paths, config, capfd):
    whole = ClipStore.open(paths, config)
    first = whole[0]
    (folder,) = stores_in(config)
    (audio,), index = folder.glob("audio-*.i16"), folder / "index.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    match damage:
        case "shorter audio":
            os.truncate(audio, audio.stat().st_size - 2)
        case "no audio":
            audio.unlink()
        case "no index":
            index.unlink()
        case "nonsense":
            index.write_text("nonsense\n")
        case "half a row":
            index.write_text("".join([*lines[:2], lines[2][:20] + "\n", *lines[3:]]))
        case "another offset":
            index.write_text("".join([lines[0], lines[1].replace('"offset": 0', '"offset": 2'), *lines[2:]]))
        case "another form":
            index.write_text("[1, 2]\n")
    capfd.readouterr()
    store = ClipStore.open(paths, config)
    assert capfd.readouterr().err.count(f"{folder}: damaged") == (damage != "no index")
    for row in range(len(paths)):
        np.testing.assert_array_equal(store[row], to_float(decode(paths[row]).samples))
    np.testing.assert_array_equal(whole[0], first)  # who has it open goes on with the old one
    ClipStore.open(paths, config)
    assert "damaged" not in capfd.readouterr().err
    assert len(list(folder.glob("audio-*.i16"))) == 1


@pytest.mark.parametrize("cut", ["behind the last row", "in the last row", "in the first line"])
def test_what_a_killed_process_left_behind_the_last_whole_row_is_no_damage(cut, paths, config, monkeypatch, capfd):
    ClipStore.open(paths[:4], config)
    (folder,) = stores_in(config)
    (audio,), index = folder.glob("audio-*.i16"), folder / "index.jsonl"
    with audio.open("ab") as file:
        file.write(b"123")
    match cut:
        case "in the last row":
            os.truncate(index, index.stat().st_size - 5)
        case "in the first line":
            os.truncate(index, 5)
    decoded = decoded_files(monkeypatch)
    store = ClipStore.open(paths, config)
    assert len(decoded) == {"behind the last row": 1, "in the last row": 2, "in the first line": 5}[cut]
    for row, path in enumerate(paths):
        np.testing.assert_array_equal(store[row], to_float(decode(path).samples))
    assert "damaged" not in capfd.readouterr().err


def test_a_deleted_cache_never_gives_a_store_in_use_the_clips_of_others(paths, config):
    used = ClipStore.open(paths[:2], config)
    shutil.rmtree(config.cache)
    ClipStore.open(paths[2:], config)
    with pytest.raises(FileNotFoundError, match="audio-"):
        used[0]


def test_a_pickled_store_is_small_and_reads_in_loader_workers(paths, config):
    store = ClipStore.open(paths, config)
    store[0]
    assert len(pickle.dumps(store)) < 20_000
    with multiprocessing.get_context("spawn").Pool(1) as worker:
        for row, wave in enumerate(worker.map(store.__getitem__, range(len(store)))):
            np.testing.assert_array_equal(wave, store[row])


BUILD = """
import sys
from ser.config import DataConfig
from ser.data.store import ClipStore
from ser.runtime.errors import run_command

def build(arguments):
    store = ClipStore.open(arguments[1:], DataConfig(cache=arguments[0]))
    print([float(store[row].sum()) for row in range(len(store))])

run_command(build)
"""


def build_command(cache: str | Path, paths: list[Path]) -> list[str]:
    return [sys.executable, "-c", BUILD, str(cache), *map(str, paths)]


@pytest.fixture
def importable(monkeypatch):
    """Lets other processes import the package, installed or not."""
    monkeypatch.setenv("PYTHONPATH", str(Path(ser.__file__).parents[1]))


def test_processes_that_build_one_store_at_once_all_get_it(paths, config, importable):
    running = [subprocess.Popen(build_command(config.cache, paths), stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate(timeout=120)[0].strip() for process in running}
    assert answers == {str([float(to_float(decode(path).samples).sum()) for path in paths])}
    assert [process.returncode for process in running] == [0] * 3
    (folder,) = stores_in(config)
    assert sorted(path.name.split("-")[0] for path in folder.iterdir()) == ["audio", "index.jsonl", "lock"]


def test_processes_that_add_different_clips_at_once_lose_none(paths, config, importable, monkeypatch):
    running = [subprocess.Popen(build_command(config.cache, part)) for part in (paths[:2], paths[1:4], paths[3:])]
    assert [process.wait(120) for process in running] == [0] * 3
    decoded = decoded_files(monkeypatch)
    store = ClipStore.open(paths, config)
    assert decoded == []
    for row, path in enumerate(paths):
        np.testing.assert_array_equal(store[row], to_float(decode(path).samples))


def test_a_build_that_is_killed_leaves_nothing_behind_that_matters(tmp_path, config, importable):
    paths = [write_wav(tmp_path / f"{number}.wav", np.tile(STEREO, (15, 1)), 48_000) for number in range(40)]
    process = subprocess.Popen(build_command(config.cache, paths), stdout=subprocess.PIPE)
    cache = Path(config.cache)
    while not any(path.stat().st_size for path in cache.glob("clips-*/audio-*.i16")):  # it has begun to decode
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    store = ClipStore.open(paths, config)
    for row in (0, 39):
        np.testing.assert_array_equal(store[row], to_float(decode(paths[row]).samples))


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs a small file system of its own")
def test_a_full_disk_is_said_and_gets_its_room_back(paths, tmp_path, importable):
    own = ["unshare", "--mount", "--map-root-user"]
    if subprocess.run([*own, "true"], capture_output=True).returncode:
        pytest.skip("not allowed to have mounts of its own")
    small = tmp_path / "small"
    small.mkdir()
    mount = 'mount -t tmpfs -o size=64k none "$0" || exit 99; "$@"; code=$?; cat "$0"/cache/clips-*/*; exit $code'
    command = [*own, "sh", "-c", mount, small, *build_command(small / "cache", paths)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if run.returncode == 99:
        pytest.skip(f"not allowed to mount one: {run.stderr}")
    assert run.returncode == 2
    assert "no space left" in run.stderr
    assert run.stdout.count("\n") == 1, "the head of the index, and no row or sample"


@pytest.fixture(params=["a file", "below a file", "a read-only disk"])
def forbidden(request, tmp_path):
    """A cache folder that can't be written, and a part of what the system says."""
    place = tmp_path / "forbidden"
    if request.param == "a read-only disk":
        place.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", place], capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip(f"nothing can be mounted here ({mounted.stderr.decode().strip()})")
        yield place, "Read-only file system"
        subprocess.run(["umount", "-l", place], check=True)
    else:
        place.touch()
        yield place / "cache" if request.param == "below a file" else place, "Not a directory"


def test_a_cache_that_cannot_be_written_is_named_with_what_to_do(paths, forbidden):
    cache, says = forbidden
    told = rf"the cache {cache} can't be used \({says}: .*Choose another folder with --data.cache DIR"
    with pytest.raises(UserError, match=told):
        ClipStore.open(paths, DataConfig(cache=str(cache)))
    with pytest.raises(UserError, match=told):
        write_clips(cache / "features-x-1", {"a": {"b": np.zeros(3)}})


def test_clips_that_are_all_in_a_read_only_cache_are_read_from_it(paths, config, monkeypatch):
    before = ClipStore.open(paths, config)
    memory = Path(config.cache) / "file_hashes.csv"
    memory.unlink(missing_ok=True)
    monkeypatch.setattr(hashes, "SETTLED_SECONDS", -1000.0)  # so that there is something to remember
    mounted = subprocess.run(["mount", "--bind", config.cache, config.cache], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here ({mounted.stderr.decode().strip()})")
    try:
        if subprocess.run(["mount", "-o", "remount,ro,bind", config.cache], capture_output=True, check=False).returncode:
            pytest.skip("nothing can be mounted again here")
        after = ClipStore.open(paths, config)
        assert np.array_equal(after[3], before[3]) and not memory.exists()
    finally:
        subprocess.run(["umount", "-l", config.cache], check=True)
