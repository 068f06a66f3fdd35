"""The Korean module: every call of its library example, and what it does with files and folders that aren't right."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from transformers import Wav2Vec2FeatureExtractor

from checkpoints import make_classifier
from ser import predict
from ser.config.shipped import shipped_config
from ser.data.labels import LABEL_SETS
from ser.inference.runs import read_run
from ser.korean import (
    AudioPreprocessor,
    ModelEvaluator,
    SpeechEmotionDataset,
    create_inference_engine,
    create_trainer,
    load_dataset_from_directory,
    plot_training_history,
    setup_logging,
)
from ser.korean.dataset import as_list
from ser.runtime.errors import UserError
from ser.runtime.files import read_json
from ser.runtime.progress import say
from ser.train import __main__ as train
from sounds import cut, tone, write_ffmpeg, write_soundfile, write_wav
from texts import make_texts
from tiny import TINY_WAV2VEC2

KOREAN15 = LABEL_SETS["korean15"]
EMOTIONS = {"Angry": 140, "슬픔": 220, "Joy": 330, "중립": 450}


@pytest.fixture(scope="module")
def emotions(tmp_path_factory):
    """Six clips of each of four emotions, in folders of English and Korean names; every folder has a 0.wav."""
    root = tmp_path_factory.mktemp("data") / "emotions"
    for name, hz in EMOTIONS.items():
        (root / name).mkdir(parents=True)
        for number in range(6):
            write_wav(root / name / f"{number}.wav", tone(0.5 + number / 20, hz=hz + number))
    return root


@pytest.fixture(scope="module")
def tiny_config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("config")
    content = {
        "data": {"labels": "korean15", "cache": str(folder / "cache")},
        "cv": {"n": 2},
        "model": {"from_scratch": TINY_WAV2VEC2, "freeze": "none"},
        "train": {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 1000},
        "tracking": {"mode": "disabled"},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content))
    return folder / "tiny.yaml"


@pytest.fixture(scope="module")
def training(emotions, tiny_config, tmp_path_factory):
    """A run as the example of the README makes it, of two folds and with ser.log beside it; one file isn't there and is left out."""
    paths, labels = load_dataset_from_directory(str(emotions))
    place = tmp_path_factory.mktemp("run")
    trainer = create_trainer(tiny_config, place / "results", {"data.on_bad_audio": "drop"})
    try:
        setup_logging("info", place / "ser.log")
        return trainer.train(train_data=([*paths, "no.wav"], [*labels, "sad"]))
    finally:
        end_logging()


@pytest.fixture
def training_log(training):
    return Path(training["run"]).with_name("ser.log").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """A classifier of kresnik's architecture (layer-norm feature encoder) with fifteen labels, as others save one."""
    names = tuple("Joy" if name == "happy" else name.title() for name in KOREAN15)
    return make_classifier(tmp_path_factory.mktemp("kresnik"), "wav2vec2-layer", names)


@pytest.fixture(scope="module")
def engine(foreign):
    return create_inference_engine(foreign)


def test_a_folder_of_emotions_becomes_paths_and_labels(emotions):
    paths, labels = load_dataset_from_directory(emotions)
    assert len(paths) == 24 and len(set(paths)) == 24
    named = {(path.split("/")[-2], label) for path, label in zip(paths, labels, strict=True)}
    assert named == {("Angry", "angry"), ("슬픔", "sad"), ("Joy", "happy"), ("중립", "neutral")}


def test_a_training_leaves_a_run_scores_and_a_history(training, tmp_path):
    assert training["oof"]["n"] == 24 and set(training["folds"]) == {0, 1}
    assert len(training["history"]["val_loss"]) == 2
    plot_training_history(training["history"], tmp_path / "history.png")
    plot_training_history({key: [1.0, 0.5] for key in ("train_loss", "val_loss", "val_accuracy", "val_f1")}, tmp_path / "four.png")
    assert min((tmp_path / name).stat().st_size for name in ("history.png", "four.png")) > 5_000
    with pytest.raises(UserError, match="val_f1"):
        plot_training_history({"train_loss": [1.0]}, tmp_path / "no.png")


def test_a_run_predicts_and_is_evaluated(training, emotions, tmp_path):
    paths, labels = load_dataset_from_directory(emotions)
    engine = create_inference_engine(training["run"])
    assert engine.label_names == KOREAN15
    results = engine.predict_directory(str(emotions / "Angry"))
    assert [result["file_path"] for result in results] == [str(emotions / "Angry" / f"{number}.wav") for number in range(6)]
    counted = engine.analyze_emotions_distribution(results)
    assert sum(counted["emotion_counts"].values()) == counted["total"] == 6
    assert list(counted["emotion_counts"]) == list(KOREAN15)

    evaluator = ModelEvaluator(training["run"], tmp_path / "report")
    with pytest.raises(UserError, match="evaluate_dataset"):
        evaluator.plot_confusion_matrix()
    scores = evaluator.evaluate_dataset(paths, labels)
    predicted = [result["predicted_emotion"] for result in engine.predict_batch(paths)]
    assert scores["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(predicted, labels, strict=True)]))
    assert evaluator.plot_confusion_matrix().is_file() and evaluator.plot_class_metrics().is_file()
    assert "training data" in evaluator.generate_evaluation_report()
    assert read_json(tmp_path / "report" / "report.json")["scores"]["n"] == 24
    assert "out-of-fold report" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")


def test_validation_data_of_ones_own_makes_one_model_and_that_is_the_whole_run(emotions, tiny_config, tmp_path, capsys):
    paths, labels = load_dataset_from_directory(emotions)
    valid = slice(0, None, 4)
    rest = [row for row in range(24) if row % 4]
    settings = {"train.epochs": 1, "cv.n": 4, "cv.split": "speaker", "data.on_bad_audio": "drop"}
    trainer = create_trainer(tiny_config, tmp_path / "run", settings)
    train_data = [paths[row] for row in rest], [labels[row] for row in rest]
    result = trainer.train(train_data, ([*paths[valid], tmp_path / "gone.wav"], [*labels[valid], "sad"]))
    assert result["oof"] is None and set(result["folds"]) == {0} and result["folds"][0]["n"] == 6
    assert set(pd.read_csv(tmp_path / "run" / "fold_0" / "valid.csv")["id"]) == set(paths[valid])
    out = capsys.readouterr().out
    assert "not read: cv.n, cv.split" in out and "still to be trained" not in out
    assert f"made {tmp_path / 'run' / 'fold_0'}: one model, its epoch chosen by the 6 held-out clips" in out

    with pytest.raises(UserError, match="val_data holds no clip"):
        trainer.train(train_data, ([], []))
    held_out = paths[valid] + paths[1:2], labels[valid] + labels[1:2]
    with pytest.raises(UserError, match=r"was begun with other data|holds another split"):
        trainer.train((train_data[0][1:], train_data[1][1:]), held_out)
    train.main(["--config", str(tmp_path / "run" / "config.yaml")])  # what was refused has changed nothing
    assert "fold 0: finished before, skipped" in capsys.readouterr().out and not (tmp_path / "run" / "fold_1").exists()

    assert create_inference_engine(result["run"]).predict_single(paths[0])["status"] == "ok"
    evaluator = ModelEvaluator(result["run"], tmp_path / "report")
    evaluator.evaluate_dataset(paths, labels)
    assert "warning" not in capsys.readouterr().out
    assert evaluator.found.seen.tolist() == [row % 4 > 0 for row in range(24)]
    assert not [warning for warning in evaluator.found.warnings if "folds" in warning]
    with pytest.raises(UserError, match="is one model, without out-of-fold predictions"):
        read_run(result["run"])


def test_settings_that_cannot_be_leave_nothing_behind(emotions, tiny_config, tmp_path):
    paths, labels = load_dataset_from_directory(emotions)
    trainer = create_trainer(tiny_config, tmp_path / "run", {"data.root": "elsewhere"})
    with pytest.raises(UserError, match=r"data\.root: given twice"):
        trainer.train((paths, labels), (paths[:4], labels[:4]))
    assert list(tmp_path.iterdir()) == []


def test_the_trainer_tells_wrong_settings_at_once(tiny_config):
    with pytest.raises(UserError, match=r"train\.epochs"):
        create_trainer(tiny_config, settings={"train.epoch": 3})
    with pytest.raises(UserError, match="xlsr_korean_15"):
        create_trainer("no_such_recipe")


@pytest.mark.parametrize("name", ["xlsr_korean_15", "gpu_8gb", "gpu_12gb", "gpu_24gb"])
def test_the_recipe_and_the_presets_make_batches_of_sixteen(name):
    config = create_trainer([shipped_config("xlsr_korean_15"), name])._config([])
    assert config.train.batch_size * config.train.accumulation == 16
    assert (config.train.learning_rate, config.train.warmup_steps, config.train.epochs) == (3e-5, 1000, 5)
    assert (config.train.early_stopping, config.train.min_improvement, config.data.max_seconds) == (5, 0.001, 15)
    assert (config.model.name, config.data.labels) == ("kresnik/wav2vec2-large-xlsr-korean", "korean15")


def test_predictions_carry_everything_in_both_languages(engine, emotions):
    result = engine.predict_single(emotions / "Angry" / "0.wav")
    assert list(result["probabilities"]) == list(KOREAN15)
    assert sum(result["probabilities"].values()) == pytest.approx(1)
    best = max(result["probabilities"], key=result["probabilities"].get)
    assert (result["predicted_emotion"], result["confidence"]) == (best, result["probabilities"][best])
    shown = "중립 분노 기쁨 슬픔 진지함 불안 친절 건조함 놀림 의심 놀람 수줍음 서두름 두려움 주저함"
    korean = dict(zip(KOREAN15, shown.split(), strict=True))
    assert result["predicted_emotion_ko"] == korean[best]
    assert (result["status"], result["duration"]) == ("ok", 0.5)


@pytest.mark.parametrize("kind", ["wav2vec2-layer", "wav2vec2-group"])
def test_one_by_one_equals_a_batch_for_both_mask_rules(kind, foreign, emotions, tmp_path):
    engine = create_inference_engine(foreign if kind == "wav2vec2-layer" else make_classifier(tmp_path, kind, ("a", "b", "c")))
    paths = [emotions / name / f"{number}.wav" for name, number in (("Angry", 5), ("Joy", 0), ("슬픔", 3), ("Joy", 5))]
    together = engine.predict_batch(paths)
    for path, result in zip(paths, together, strict=True):
        assert engine.predict_single(path)["probabilities"] == pytest.approx(result["probabilities"], abs=2e-6)


def test_the_command_gives_what_the_library_gives(engine, foreign, emotions, tmp_path):
    path = emotions / "Joy" / "2.wav"
    predict.main(["--model", str(foreign), str(path), "--output", str(tmp_path / "out.csv"), "--data.cache", str(tmp_path / "cache")])
    row = pd.read_csv(tmp_path / "out.csv").iloc[0]
    assert {name: row[f"p_{name}"] for name in KOREAN15} == pytest.approx(engine.predict_single(path)["probabilities"], abs=1e-6)


def test_every_format_of_one_recording_gives_the_same_prediction_within_codec_error(engine, tmp_path):
    wave = tone(1.5, hz=260)
    files = [write_wav(tmp_path / "x.wav", wave), write_ffmpeg(tmp_path / "x.m4a", wave, 16_000, "ipod", "aac")]
    files += [write_soundfile(tmp_path / f"x.{form.lower()}", wave, 16_000, form) for form in ("FLAC", "OGG", "MP3")]
    wav, *others = engine.predict_batch(files)
    for result in others:
        lossless = result["file_path"].endswith("flac")
        difference = max(abs(result["probabilities"][name] - p) for name, p in wav["probabilities"].items())
        assert difference <= (1e-4 if lossless else 0.05), result["file_path"]
        assert result["predicted_emotion"] == wav["predicted_emotion"]


def test_stream_answers_each_window_before_the_next_sample_is_read_as_the_timeline_does(engine, tmp_path):
    wave = np.concatenate([tone(2.0, hz=200), np.zeros(24_000, np.float32), tone(1.5, hz=500)])
    path, taken = write_wav(tmp_path / "long.wav", wave), []
    samples = soundfile.read(path, dtype="int16")[0]

    def microphone():
        for start in range(0, len(samples), 1600):
            taken.append(start + 1600)
            yield samples[start : start + 1600]

    engine.warmup()
    rows = [(row, taken[-1]) for row in engine.predict_stream(microphone(), 1.0, 0.5)]
    expected = engine.predict_timeline(path, 1.0, 0.5).windows.astype(object)
    expected = expected.where(expected.notna(), None)
    assert "silent" in set(expected["status"])
    assert len(rows) == len(expected) > 5
    for (row, heard), (_, wanted) in zip(rows, expected.iterrows(), strict=True):
        assert (row["start"], row["status"], row["predicted_emotion"]) == (wanted["start"], wanted["status"], wanted["predicted_emotion"])
        if row["status"] == "ok":
            assert [row[f"p_{name}"] for name in KOREAN15] == pytest.approx([wanted[f"p_{name}"] for name in KOREAN15], abs=1e-5)
        assert heard <= row["end"] * 16_000 + 1600 and row["latency"] > 0
    assert [row["end"] for row in engine.predict_stream(path, 1.0, 0.5)] == expected["end"].tolist()


def test_a_stream_of_what_cannot_be_heard_is_told(engine, tmp_path, caplog):
    (tmp_path / "empty.wav").touch()
    for name, told in (("none.wav", "no such file"), ("empty.wav", "0 bytes")):
        with pytest.raises(UserError, match=told):
            list(engine.predict_stream(tmp_path / name))
    for blocks in ([np.zeros(1600, np.float32)], [np.zeros((1600, 2), np.int16)], np.zeros(1600, np.int16), b"1", None):
        with pytest.raises(UserError, match="int16"):
            list(engine.predict_stream(blocks))
    whole = write_wav(tmp_path / "cut.wav", tone(3.0))
    whole.write_bytes(whole.read_bytes()[:60_000])
    assert list(engine.predict_stream(whole)) and "truncated" in caplog.text


def test_what_is_no_text_is_refused(engine):
    with pytest.raises(UserError, match="None is no text"):
        engine.predict_texts(["good", None])


def test_threads_get_the_answers_that_one_after_the_other_gets(engine, emotions):
    from concurrent.futures import ThreadPoolExecutor

    samples = [soundfile.read(path, dtype="int16")[0] for path in sorted(emotions.rglob("*.wav"))[:12]]
    alone = [engine.predict_samples([each])[0] for each in samples]
    with ThreadPoolExecutor(6) as threads:
        together = list(threads.map(lambda each: engine.predict_samples([each])[0], samples * 2))
    np.testing.assert_allclose(together, alone * 2, atol=1e-6)


def test_a_single_path_where_a_list_is_wanted_is_a_list_of_one(engine, emotions):
    path = str(sorted(emotions.rglob("*.wav"))[0])
    assert [result["file_path"] for result in engine.predict_batch(path)] == [path]
    assert [result["file_path"] for result in engine.stream(path)] == [path]
    assert as_list(path) == [path] and as_list(("a", "b")) == ["a", "b"]


def test_bad_files_keep_their_place_and_get_a_status_instead_of_an_emotion(engine, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    good = write_wav(tmp_path / "a" / "x.wav", tone(0.5))
    other = write_wav(tmp_path / "b" / "x.wav", tone(0.7, hz=500))
    silent = write_wav(tmp_path / "silent.wav", np.zeros(16_000, np.float32))
    truncated = cut(write_wav(tmp_path / "cut.wav", tone(1)))
    results = engine.predict_batch([tmp_path / "no.wav", good, silent, truncated, other], tmp_path / "out.csv")
    assert [result["status"] for result in results] == ["missing", "ok", "silent", "truncated", "ok"]
    assert [result["duration"] for result in results if result["status"] == "ok"] == pytest.approx([0.5, 0.7])
    for result in results:
        unusable = result["status"] != "ok"
        assert (result["predicted_emotion"] is None) == unusable and (result["probabilities"] == {}) == unusable
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["file_path"].tolist() == [result["file_path"] for result in results]
    assert table["p_angry"].isna().tolist() == [True, False, True, True, False]
    engine.predict_batch([good], tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())[0]["predicted_emotion_ko"] == results[1]["predicted_emotion_ko"]
    with pytest.raises(UserError, match=r"\.csv and \.json"):
        engine.predict_batch([good], tmp_path / "out.xlsx")
    assert engine.predict_batch([]) == []
    assert engine.analyze_emotions_distribution(results)["unusable"] == 3


def test_folders_that_hold_no_data_or_no_emotion_say_so(tmp_path, engine):
    (tmp_path / "empty").mkdir()
    for call in (load_dataset_from_directory, engine.predict_directory):
        with pytest.raises(UserError, match="no audio"):
            call(tmp_path / "empty")
    (tmp_path / "data" / "Angrry").mkdir(parents=True)
    write_wav(tmp_path / "data" / "Angrry" / "x.wav", tone(0.5))
    with pytest.raises(UserError, match="Did you mean angry"):
        load_dataset_from_directory(tmp_path / "data")


def test_a_csv_in_cp949_with_absolute_paths_is_read(tmp_path):
    path = write_wav(tmp_path / "분노_1.wav", tone(0.5))
    (tmp_path / "목록.csv").write_bytes(f"file_path,emotion\n{path},분노\n".encode("cp949"))
    assert load_dataset_from_directory(tmp_path / "목록.csv") == ([str(path)], ["angry"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such model"),
        (lambda folder: folder.mkdir(), "no trained model"),
        (lambda folder: (folder.mkdir(), (folder / "config.json").write_text("{}")), "no usable checkpoint"),
        (lambda folder: cut(make_classifier(folder, "wav2vec2-layer", ("a", "b")) / "model.safetensors"), "can't be loaded"),
    ],
    ids=["nothing", "empty", "no weights", "cut weights"],
)
def test_a_model_that_cannot_be_loaded_says_why(tmp_path, make, message):
    make(tmp_path / "model")
    with pytest.raises(UserError, match=message):
        create_inference_engine(tmp_path / "model")


def test_a_model_of_texts_is_no_model_to_hear_with(tmp_path):
    data = make_texts(tmp_path / "texts", texts=48, test_texts=6)
    options = ["--data.root", str(data), "--cv.n", "2", "--run.output", str(tmp_path / "run"), "--tracking.mode", "disabled"]
    train.main(["--config", str(shipped_config("text_ngrams")), *options, "--folds", "0"])
    engine = create_inference_engine(tmp_path / "run" / "fold_0")
    with pytest.raises(UserError, match="takes text"):
        engine.predict_batch([write_wav(tmp_path / "x.wav", tone(1.0))])
    (answer, empty) = engine.predict_texts(["정말 좋아", ""])
    assert answer["predicted_emotion"] in engine.label_names and empty["status"] == "empty_text"


def test_a_hub_name_is_asked_for_at_the_hub(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="hf download kresnik/no-such-model"):
        create_inference_engine("kresnik/no-such-model")


def test_noise_reduction_of_training_is_done_in_prediction_too(emotions, tiny_config, tmp_path):
    run = tmp_path / "run"
    options = ["--data.root", str(emotions), "--data.noise_reduction", "true", "--train.epochs", "1", "--run.output", str(run)]
    train.main(["--config", str(tiny_config), *options, "--folds", "0"])
    assert read_json(run / "fold_0" / "model" / "ser_model.json")["noise_reduction"] is True
    valid = pd.read_csv(run / "fold_0" / "valid.csv")
    engine = create_inference_engine(run / "fold_0")
    results = engine.predict_batch([emotions / name for name in valid["id"]])
    for name in ("angry", "happy"):
        assert [result["probabilities"][name] for result in results] == pytest.approx(valid[f"p_{name}"].tolist(), abs=1e-5)


def test_a_data_set_gives_what_a_processor_makes_of_the_clips(emotions, tmp_path):
    paths, labels = load_dataset_from_directory(emotions)
    processor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    plain = SpeechEmotionDataset(paths, labels, processor, is_training=False, cache=str(tmp_path / "cache"))
    wave, _ = soundfile.read(paths[3], dtype="float32")
    np.testing.assert_allclose(plain[3]["input_values"], processor(wave, sampling_rate=16_000)["input_values"][0], atol=1e-5)
    assert [KOREAN15[int(plain[row]["labels"])] for row in range(24)] == labels
    batch = plain.collate([plain[0], plain[5]])
    assert batch["input_values"].shape == batch["attention_mask"].shape and batch["attention_mask"].sum(1).tolist() == [8_000, 12_000]
    augmented = SpeechEmotionDataset(paths, labels, processor, is_training=True, cache=str(tmp_path / "cache"))
    changed = [not np.array_equal(augmented[row]["input_values"], plain[row]["input_values"]) for row in range(24)]
    again = [np.array_equal(augmented[row]["input_values"], augmented[row]["input_values"]) for row in range(24)]
    assert any(changed) and all(again)
    with pytest.raises(UserError, match="missing"):
        SpeechEmotionDataset([*paths, "no.wav"], [*labels, "angry"], processor, cache=str(tmp_path / "cache"))
    with pytest.raises(UserError, match="혐오"):
        SpeechEmotionDataset(paths[:1], ["혐오"], processor, cache=str(tmp_path / "cache"))


def test_preprocessing_cuts_normalises_and_augments_by_seed(tmp_path):
    path = write_wav(tmp_path / "x.wav", tone(3.0, level=0.1))
    wave = AudioPreprocessor(target_sr=16000, max_duration=2.0, normalize=True).preprocess(path)
    assert (len(wave), wave.dtype) == (32_000, np.float32)
    assert (wave.mean(), wave.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-3))
    plain = AudioPreprocessor(normalize=False).preprocess(path)
    np.testing.assert_array_equal(plain, soundfile.read(path, dtype="float32")[0])
    preprocessor = AudioPreprocessor()
    one, two = (preprocessor.preprocess(path, apply_augmentation=True, seed=seed) for seed in (1, 1))
    np.testing.assert_array_equal(one, two)
    others = [preprocessor.preprocess(path, apply_augmentation=True, seed=seed) for seed in (2, 3)]
    assert not all(np.array_equal(other, one) for other in others)
    with pytest.raises(UserError, match="16000"):
        AudioPreprocessor(target_sr=8000)
    with pytest.raises(UserError, match="missing"):
        preprocessor.preprocess(tmp_path / "no.wav")


def test_logging_goes_to_the_file_and_is_replaced_when_set_up_again(tmp_path):
    try:
        for name in ("a", "b"):
            setup_logging("info", tmp_path / "logs" / f"{name}.log")
            logging.getLogger("ser.korean").info("말 %s", name)
        assert "말 a" in (tmp_path / "logs" / "a.log").read_text(encoding="utf-8")
        assert "말 b" not in (tmp_path / "logs" / "a.log").read_text(encoding="utf-8")
        with pytest.raises(UserError, match="allowed are DEBUG"):
            setup_logging("loud")
    finally:
        end_logging()


def test_the_log_file_keeps_what_training_tells_and_which_files_cannot_be_used(training, training_log, tmp_path, capsys):
    for told in ("fold 0: best epoch", "fold 1: best epoch", "out-of-fold: accuracy", f"made {training['run']}: 2 folds"):
        assert training_log.count(told) == 1
    assert "WARNING ser.said: 1 of 25 training clips can't be used" in training_log
    try:
        setup_logging("info", tmp_path / "ser.log")
        create_inference_engine(training["run"]).predict_batch(
            [tmp_path / "gone.wav", write_wav(tmp_path / "silent.wav", np.zeros(16_000))]
        )
        say("warning: on the screen already")
        with pytest.raises(UserError, match="log_file"):
            setup_logging("info", tmp_path / "ser.log" / "below_a_file.log")
        say("still kept")
    finally:
        end_logging()
    say("after the end")
    kept, printed = (tmp_path / "ser.log").read_text(encoding="utf-8"), capsys.readouterr()
    for told in ("gone.wav can't be used: missing", "silent.wav can't be used: silent"):
        assert told in kept and told in printed.err
    assert "WARNING ser.said: on the screen already" in kept and "INFO ser.said: still kept" in kept and "after the end" not in kept
    assert "on the screen already" in printed.out and "on the screen already" not in printed.err


def end_logging():
    """As if `setup_logging` had never been called."""
    logger = setup_logging()
    logger.removeHandler(logger.handlers[0])
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
