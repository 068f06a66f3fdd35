"""The emotions, their names in English and Korean, the label sets that tasks and checkpoints use, and which of a set
stands for an emotion it lacks.

One emotion has one key: `canonical` turns any name for it into that key, and everything written or compared uses keys.
The order of a label set matters only where a task fixes it (integer labels); the order of a checkpoint's outputs is
always read from the checkpoint.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ser.runtime.errors import UserError


@dataclass(frozen=True)
class Emotion:
    """One emotion: its key, the names shown to people, and other names it goes by."""

    key: str
    english: str
    korean: str
    aliases: tuple[str, ...] = ()


# The first six stand in the competition's order, so that a data set with exactly these names gets that order too.
_REGISTRY = (
    Emotion("angry", "Angry", "분노", ("anger", "ang", "mad", "화남", "화", "화나다")),
    Emotion("fear", "Fear", "두려움", ("fearful", "fea", "scared", "afraid", "공포", "무서움")),
    Emotion("sad", "Sad", "슬픔", ("sadness", "sorrow", "슬프다")),
    Emotion("disgust", "Disgust", "혐오", ("disgusted", "dis", "역겨움", "싫음")),
    Emotion("neutral", "Neutral", "중립", ("neu", "neutrality", "no_emotion", "무감정", "평범")),
    Emotion("happy", "Joy", "기쁨", ("happiness", "hap", "joyful", "행복", "행복함", "즐거움")),
    Emotion("surprise", "Surprise", "놀람", ("surprised", "sur", "pleasant_surprise", "pleasant_surprised", "ps", "놀라움")),
    Emotion("calm", "Calm", "평온", ("calmness", "차분", "차분함", "안정")),
    Emotion("serious", "Serious", "진지함", ("seriousness", "진지")),
    Emotion("anxious", "Anxious", "불안", ("anxiety", "nervous", "불안함")),
    Emotion("kind", "Kind", "친절", ("kindness", "친절함")),
    Emotion("dry", "Dry", "건조함", ("dryness", "건조", "무미건조")),
    Emotion("tease", "Tease", "놀림", ("teasing", "놀리기")),
    Emotion("doubt", "Doubt", "의심", ("doubtful", "suspicion", "의심스러움")),
    Emotion("shy", "Shy", "수줍음", ("shyness", "부끄러움")),
    Emotion("hurry", "Hurry", "서두름", ("hurried", "서두르기", "급함")),
    Emotion("hesitate", "Hesitate", "주저함", ("hesitation", "hesitant", "주저", "망설임")),
    Emotion("embarrassed", "Embarrassed", "당황", ("embarrassment", "flustered", "당황함")),
    Emotion("hurt", "Hurt", "상처", ("상처받음",)),
    Emotion("contempt", "Contempt", "경멸", ("contemptuous",)),
    Emotion("excited", "Excited", "흥분", ("excitement", "exc")),
    Emotion("frustrated", "Frustrated", "좌절", ("frustration", "fru")),
    Emotion("bored", "Bored", "지루함", ("boredom", "지루")),
    Emotion("other", "Other", "기타", ("others", "oth")),
    Emotion("unknown", "Unknown", "알 수 없음", ("unk", "<unk>", "xxx")),
)
EMOTIONS: dict[str, Emotion] = {emotion.key: emotion for emotion in _REGISTRY}

LABEL_SETS: dict[str, tuple[str, ...]] = {
    # DACON 236105; the integers of its CSV are positions in this order.
    "competition6": ("angry", "fear", "sad", "disgust", "neutral", "happy"),
    # The 15 speaking styles of the Korean module.
    "korean15": (
        *("neutral", "angry", "happy", "sad", "serious", "anxious", "kind", "dry"),
        *("tease", "doubt", "surprise", "shy", "hurry", "fear", "hesitate"),
    ),
    # AI Hub emotional dialogue speech.
    "aihub7": ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"),
    # Text emotion: no neutral.
    "text6": ("angry", "sad", "disgust", "happy", "fear", "surprise"),
    # Emotion subtitles.
    "subtitle7": ("neutral", "happy", "sad", "angry", "fear", "surprise", "disgust"),
    # superb/wav2vec2-large-superb-er, speechbrain's IEMOCAP model.
    "superb4": ("neutral", "happy", "angry", "sad"),
    # jungjongho/wav2vec2-xlsr-korean-speech-emotion-recognition.
    "korean5": ("happy", "embarrassed", "angry", "anxious", "sad"),
    # RAVDESS, in the order of its file codes 01 to 08.
    "ravdess8": ("neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"),
    # emotion2vec+.
    "emotion2vec9": ("angry", "disgust", "fear", "happy", "neutral", "other", "sad", "surprise", "unknown"),
}

# Where an emotion goes in a set that lacks it: always from the finer name to the coarser one, never the other way.
# Manners of speaking that none of the basic emotions describes go to neutral. `other` and `unknown` go nowhere.
NEAREST: dict[str, str] = {
    "calm": "neutral",
    "serious": "neutral",
    "dry": "neutral",
    "bored": "neutral",
    "doubt": "neutral",
    "shy": "neutral",
    "hurry": "neutral",
    "hesitate": "neutral",
    "kind": "happy",
    "tease": "happy",
    "excited": "happy",
    "anxious": "fear",
    "embarrassed": "surprise",
    "hurt": "sad",
    "contempt": "disgust",
    "frustrated": "angry",
}


def canonical(name: str) -> str:
    """The key of the emotion that `name` means: any alias, any case, English or Korean, NFC or NFD.

    Raises UserError with the nearest known names.
    """
    folded = _fold(name)
    if folded in _KEY_OF_NAME:
        return _KEY_OF_NAME[folded]
    if is_placeholder(name):
        raise UserError(
            f"emotion {name!r}: this is a placeholder that transformers writes when a model has no label names, not an emotion. "
            "Put the emotions in label order into id2label of the model's config.json."
        )
    near = difflib.get_close_matches(folded[:40], _KEY_OF_NAME, 3, 0.7)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    raise UserError(
        f"emotion {_short(name)}: no such emotion. {hint}Known: {', '.join(EMOTIONS)}; their English and Korean names work too."
    )


def is_placeholder(name: str) -> bool:
    """Whether transformers wrote this in place of a name."""
    return re.fullmatch(r"label_?\d+", _fold(name)) is not None


def is_emotion(name: str) -> bool:
    """Whether `canonical` knows the name."""
    return _fold(name) in _KEY_OF_NAME


def label_set(name: str) -> tuple[str, ...]:
    """The keys of a named label set, in its order. Raises UserError naming the sets there are."""
    if name in LABEL_SETS:
        return LABEL_SETS[name]
    near = difflib.get_close_matches(name, LABEL_SETS, 1, 0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(f"label set {_short(name)}: no such set.{hint} There are {', '.join(LABEL_SETS)}.")


def map_label(key: str, target_set: str | Sequence[str]) -> str | None:
    """The label of `target_set` (a set's name, or its keys) that stands for emotion `key`.

    The emotion itself where the set has it, else its nearest coarser one (`NEAREST`: calm → neutral), else None.
    """
    target = label_set(target_set) if isinstance(target_set, str) else target_set
    if key in target:
        return key
    nearest = NEAREST.get(key)
    return nearest if nearest in target else None


def english(key: str) -> str:
    """The English name to show for an emotion."""
    return EMOTIONS[canonical(key)].english


def korean(key: str) -> str:
    """The Korean name to show for an emotion."""
    return EMOTIONS[canonical(key)].korean


def display_korean(label: str) -> str:
    """The Korean name of a model's label; the label itself where the registry doesn't know it."""
    return korean(label) if is_emotion(label) else label


def describe_order(keys: Sequence[str]) -> str:
    """The integer of each label, e.g. `0 angry, 1 fear, ...`."""
    return ", ".join(f"{position} {key}" for position, key in enumerate(keys))


def _fold(name: str) -> str:
    # NFKC composes the decomposed Hangul (NFD) of macOS folder names.
    return re.sub(r"[\s_-]+", "_", unicodedata.normalize("NFKC", str(name)).casefold().strip())


def _short(name: object) -> str:
    text = repr(name)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _names() -> dict[str, str]:
    names: dict[str, str] = {}
    for emotion in _REGISTRY:
        for name in (emotion.key, emotion.english, emotion.korean, *emotion.aliases):
            if names.setdefault(_fold(name), emotion.key) != emotion.key:
                raise ValueError(f"{name!r} names both {names[_fold(name)]} and {emotion.key}")
    return names


_KEY_OF_NAME = _names()
