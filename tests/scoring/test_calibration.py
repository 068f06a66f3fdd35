"""Calibration: the error, the temperature, and that a run's temperature reaches prediction."""

import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from runs import edit_csv, make_run
from ser import calibrate
from ser.runtime.errors import UserError
from ser.runtime.files import read_json, write_json
from ser.scoring.calibration import (
    expected_calibration_error,
    fit_temperature,
    read_temperature,
    reliability,
    run_folder_of,
    scaled,
    temperature_of_the_mean,
)
from ser.scoring.metrics import log_loss

EXAMPLES = int(os.environ.get("SER_EXAMPLES", "100"))


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(1, 60), st.integers(2, 15), st.integers(0, 10_000), st.integers(1, 20))
def test_the_error_is_that_of_a_count_clip_by_clip(clips, classes, seed, bins):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes) / 3, clips)
    labels = rng.integers(0, classes, clips)
    expected = 0.0
    for number in range(bins):
        members = [row for row in range(clips) if number / bins < probabilities[row].max() <= (number + 1) / bins + (number == bins - 1)]
        if members:
            right = sum(probabilities[row].argmax() == labels[row] for row in members) / len(members)
            sure = sum(probabilities[row].max() for row in members) / len(members)
            expected += abs(right - sure) * len(members) / clips
    assert expected_calibration_error(labels, probabilities, bins) == pytest.approx(expected, abs=1e-9)
    assert reliability(labels, probabilities, bins)["n"].sum() == clips


def test_scaling_is_a_softmax_of_divided_logits():
    logits = np.random.default_rng(0).normal(size=(20, 5))
    np.testing.assert_allclose(scaled(softmax(logits, axis=1), 2.5), softmax(logits / 2.5, axis=1), rtol=1e-9)
    assert scaled(np.zeros((0, 5)), 2.0).shape == (0, 5)
    np.testing.assert_allclose(scaled(np.array([[1.0, 0.0]]), 3.0).sum(), 1)


def test_the_temperature_that_made_predictions_too_sure_is_found_again():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(4_000, 6)) * 2
    honest = softmax(logits, axis=1)
    labels = np.array([rng.choice(6, p=row) for row in honest])
    too_sure = softmax(logits * 3, axis=1)
    found = fit_temperature(labels, too_sure)
    assert found == pytest.approx(3, rel=0.06)
    assert log_loss(labels, scaled(too_sure, found)) < log_loss(labels, too_sure)
    assert expected_calibration_error(labels, scaled(too_sure, found)) < 0.03 < expected_calibration_error(labels, too_sure)


def test_the_command_leaves_a_temperature_that_folds_and_their_models_use(tmp_path, capsys):
    run = make_run(tmp_path / "run", clips=150)
    (run / "fold_1" / "model").mkdir()
    assert read_temperature(run) == 1.0
    calibrate.main([str(run)])
    result = read_json(run / "calibration.json")
    assert result["n"] == 150 and f"{result['ece_after']:.3f} after" in capsys.readouterr().out
    assert (run / "calibration.png").stat().st_size > 5_000
    assert {read_temperature(path) for path in (run / "fold_1", run / "fold_1" / "model")} == {result["temperature"]}
    assert read_temperature(run) == 1.0  # 20 test clips tell too little of the mean of the folds
    assert run_folder_of(tmp_path) is None
    # Honest figures: each fold scaled by what the others gave.
    folds = pd.read_csv(run / "folds.csv")["fold"].to_numpy()
    labels = np.array([clip["label"] for clip in read_json(run / "data.json")["train"]])
    oof = np.zeros((150, 6))
    for fold in range(3):
        oof[folds == fold] = pd.read_csv(run / f"fold_{fold}" / "valid.csv").iloc[:, 1:]
    held_out = np.zeros_like(oof)
    for fold in range(3):
        held_out[folds == fold] = scaled(oof[folds == fold], fit_temperature(labels[folds != fold], oof[folds != fold]))
    assert result["log_loss_after"] == pytest.approx(log_loss(labels, held_out), abs=1e-6)


def test_no_temperature_is_left_where_scaling_gains_nothing(tmp_path, capsys):
    run = make_run(tmp_path / "run", clips=300)
    calibrate.main([str(run)])
    temperature = read_temperature(run / "fold_0")
    for fold in range(3):  # as sure as they should be from now on
        edit_csv(run / f"fold_{fold}" / "valid.csv", lambda table: table.assign(**_scaled_columns(table, temperature)))
    calibrate.main([str(run)])
    assert "gains no more than chance could" in capsys.readouterr().out
    assert not (run / "calibration.json").exists() and (run / "calibration.png").exists()


def _scaled_columns(table, temperature):
    columns = [name for name in table.columns if name.startswith("p_")]
    return dict(zip(columns, scaled(table[columns].to_numpy(), temperature).T, strict=True))


@pytest.mark.parametrize("content", [{}, {"temperature": "warm"}, {"temperature": 0}, {"temperature": 1e9}])
def test_a_damaged_temperature_is_told_not_used(tmp_path, content):
    run = make_run(tmp_path / "run")
    write_json(run / "calibration.json", content)
    with pytest.raises(UserError, match=r"calibration\.json"):
        read_temperature(run / "fold_0")


def made_up_folds(noise: float, sharpness: float, clips: int, new: int, folds: int = 5, seed: int = 0):
    """Labels and out-of-fold predictions; of new clips the labels and each fold's predictions: what all folds see, and its own noise."""
    rng = np.random.default_rng(seed)
    truth = [rng.integers(0, 6, count) for count in (clips, new)]
    shared = [rng.normal(size=(len(labels), 6)) + 1.5 * np.eye(6)[labels] for labels in truth]
    oof = softmax(sharpness * (shared[0] + noise * rng.normal(size=shared[0].shape)), axis=1)
    of_folds = softmax(sharpness * (shared[1] + noise * rng.normal(size=(folds, *shared[1].shape))), axis=2)
    return truth[0], oof, truth[1], of_folds


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_mean_of_folds_is_calibrated_on_new_clips_though_single_folds_are_noisier(sharpness):
    labels, oof, new_labels, of_folds = made_up_folds(1.5, sharpness, 600, 4_000)
    single, mean = fit_temperature(labels, oof), of_folds.mean(axis=0)
    served = scaled(mean, temperature_of_the_mean(labels, oof, of_folds[:, :300]))
    as_before = np.mean([scaled(part, single) for part in of_folds], axis=0)
    assert expected_calibration_error(new_labels, served) < 0.6 * expected_calibration_error(new_labels, as_before)
    best = log_loss(new_labels, scaled(mean, fit_temperature(new_labels, mean)))
    assert log_loss(new_labels, served) < best + 0.01 < log_loss(new_labels, as_before) - 0.03


def test_a_run_with_test_clips_gets_a_temperature_of_its_mean(tmp_path, capsys):
    run = make_run(tmp_path / "run", clips=120, test_clips=60, skill=1.0)
    calibrate.main([str(run)])
    assert "on 60 test clips" in capsys.readouterr().out
    result = read_json(run / "calibration.json")
    assert read_temperature(run) == result["temperature_of_the_mean"] != result["temperature"] == read_temperature(run / "fold_0")


def test_a_file_from_before_scales_single_folds_only(tmp_path):
    run = make_run(tmp_path / "run")
    write_json(run / "calibration.json", {"temperature": 2.0})
    assert (read_temperature(run), read_temperature(run / "fold_0")) == (1.0, 2.0)
