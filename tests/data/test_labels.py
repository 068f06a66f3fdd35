"""The emotion registry: one key per emotion, whatever it is called."""

import unicodedata

import pytest

from ser.data.labels import EMOTIONS, LABEL_SETS, NEAREST, canonical, english, korean, label_set, map_label
from ser.runtime.errors import UserError


@pytest.mark.parametrize(
    "name", ["happy", "happiness", "joy", "Joy", "JOYFUL", "hap", "기쁨", "행복", " happy ", unicodedata.normalize("NFD", "기쁨")]
)
def test_every_name_of_joy_is_one_key(name):
    assert canonical(name) == "happy"


def test_every_name_in_the_registry_leads_to_its_own_key_in_any_case_and_composition():
    for key, emotion in EMOTIONS.items():
        for name in (key, emotion.english, emotion.korean, *emotion.aliases):
            for form in (name, name.upper(), name.title(), unicodedata.normalize("NFD", name), name.replace("_", " ")):
                assert canonical(form) == key


def test_competition_order_is_the_one_the_organiser_fixed():
    assert LABEL_SETS["competition6"] == ("angry", "fear", "sad", "disgust", "neutral", "happy")


def test_korean15_is_the_published_list_in_both_languages():
    published = (
        "Neutral 중립, Angry 분노, Joy 기쁨, Sad 슬픔, Serious 진지함, Anxious 불안, Kind 친절, Dry 건조함, "
        "Tease 놀림, Doubt 의심, Surprise 놀람, Shy 수줍음, Hurry 서두름, Fear 두려움, Hesitate 주저함"
    )
    assert ", ".join(f"{english(key)} {korean(key)}" for key in LABEL_SETS["korean15"]) == published


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("aihub7", "angry, disgust, fear, happiness, neutral, sadness, surprise"),
        ("text6", "angry, sad, disgust, happy, fear, surprise"),
        ("subtitle7", "neutral, happy, sad, angry, fear, surprise, disgust"),
        ("superb4", "neu, hap, ang, sad"),
        ("korean5", "기쁨, 당황, 분노, 불안, 슬픔"),
        ("ravdess8", "neutral, calm, happy, sad, angry, fearful, disgust, surprised"),
        ("emotion2vec9", "angry, disgusted, fearful, happy, neutral, other, sad, surprised, <unk>"),
    ],
)
def test_labels_as_their_sources_write_them_are_the_set(name, labels):
    assert tuple(canonical(label) for label in labels.split(", ")) == label_set(name)


def test_label_sets_hold_known_emotions_once_each():
    for labels in LABEL_SETS.values():
        assert len(set(labels)) == len(labels)
        assert set(labels) <= set(EMOTIONS)


def test_a_mistyped_emotion_names_the_near_ones():
    with pytest.raises(UserError, match=r"hapiness.*Did you mean happiness"):
        canonical("hapiness")


@pytest.mark.parametrize("name", ["", "   ", "3", "x" * 10_000, "🙂", "_", "-"])
def test_what_is_no_emotion_is_an_error_of_readable_length(name):
    with pytest.raises(UserError) as error:
        canonical(name)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("name", ["LABEL_0", "label_12", "LABEL0"])
def test_placeholder_label_names_are_an_error_that_says_what_to_do(name):
    with pytest.raises(UserError, match="id2label"):
        canonical(name)


def test_an_unknown_label_set_names_those_there_are():
    with pytest.raises(UserError, match=r"Did you mean korean15\? There are competition6"):
        label_set("korean-15")


def test_finer_emotions_map_to_the_coarser_one_of_the_target():
    assert map_label("calm", "subtitle7") == "neutral"
    assert map_label("calm", "text6") is None
    assert map_label("anxious", "korean5") == "anxious"
    assert map_label("anxious", ("fear", "sad")) == "fear"
    assert map_label("surprise", "competition6") is None
    assert map_label("other", "subtitle7") is None


def test_every_emotion_but_other_and_unknown_has_a_place_among_the_seven():
    without = [key for key in EMOTIONS if map_label(key, "subtitle7") is None]
    assert without == ["other", "unknown"]


def test_mappings_never_lead_from_a_basic_emotion():
    assert not set(NEAREST) & set(LABEL_SETS["subtitle7"])
    assert set(NEAREST.values()) <= set(LABEL_SETS["subtitle7"])
