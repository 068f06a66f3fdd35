"""A clip is one record: whatever is taken of a store, and in whatever order, each clip keeps its own voice, words and id."""

import numpy as np

from ser.config import DataConfig
from ser.data.inputs import Store, open_store
from ser.data.tables import read_dataset
from tiny import make_tiny_data

SAMPLES = [np.full(800, level, np.int16) for level in (1, 2, 3, 4)]


def test_taken_clips_keep_their_voice_and_words():
    genders = ["female", None, "male", "female"]
    store = Store.of_samples(SAMPLES, ["ann", None, "bob", "eve"], genders, ["one", "", "three", "four"])
    for taken in (store.take([3, 0]), store.take(np.array([True, False, False, True])).take([1, 0])):
        assert [clip[1:] for clip in taken] == [("four", "eve", "female", "3"), ("one", "ann", "female", "0")]
        assert taken.speakers == ("eve", "ann")
        assert [round(clip.samples[0] * 32768) for clip in taken] == [4, 1]


def test_a_store_has_the_voices_of_its_table_without_being_told(tmp_path):
    table = read_dataset(DataConfig(root=str(make_tiny_data(tmp_path / "data")))).train.take([5, 2, 40])
    store = open_store("audio", table, DataConfig(cache=str(tmp_path / "cache")))
    assert [(clip.id, clip.speaker) for clip in store] == list(zip(table.ids, table.speakers, strict=True))
    assert len({clip.speaker for clip in store}) > 1
