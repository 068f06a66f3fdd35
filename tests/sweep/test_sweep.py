"""Sweeps: what is drawn, given up, taken up again and shared, and what is told of the best. Where only its files matter, training is
stood in for."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState

import ser
from runs import make_run
from ser.config import Config, as_plain, flat, load_config
from ser.inference.runs import read_run
from ser.runtime.errors import Interrupted, UserError
from ser.scoring.metrics import paired_difference
from ser.sweep import judging, trials, wandb_trial
from ser.sweep.__main__ import main
from ser.sweep.judging import gain_over_seeds, nested_choice
from ser.sweep.report import short_yaml
from ser.sweep.running import check_same_sweep, run_trials
from ser.sweep.space import config_with, read_space
from ser.sweep.trials import Sweep
from ser.sweep.wandb_file import write_wandb_file
from tiny import make_tiny_data, write_tiny_config

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
RATES = {"train.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True}, "train.epochs": {"low": 2, "high": 8, "step": 2}}

SPACE = {"train.learning_rate": FloatDistribution(1e-5, 1e-1, log=True), "train.epochs": IntDistribution(2, 8, step=2)}
"""What `read_space` makes of RATES."""


def skill_of(config: Config) -> float:
    """The best learning rate is 1e-3; far from it nothing is learnt."""
    return 2.5 - 1.2 * abs(np.log10(config.train.learning_rate) + 3)


@pytest.fixture(scope="module")
def write_run(tmp_path_factory):
    """Stands in for training: the files of the folds asked for, as good as `skill_of` says, by seed, trial and rate."""
    made = tmp_path_factory.mktemp("runs")

    def write(config: Config, folds: list[int] | None = None) -> None:
        folder = Path(config.run.output)
        number = int(folder.name.rsplit("_", 1)[-1])
        whole = made / f"{config.run.seed}_{number}_{config.train.learning_rate}"
        if not whole.exists():
            make_run(whole, 10 * config.run.seed + number, skill_of(config), 90, 0, 5, fold_seed=config.run.seed)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("data.json", "folds.csv", "config.yaml"):
            shutil.copy(whole / name, folder / name)
        for fold in range(5) if folds is None else folds:
            if not (folder / f"fold_{fold}" / "metrics.json").exists():
                shutil.copytree(whole / f"fold_{fold}", folder / f"fold_{fold}")
                with (folder.parent / "trained.txt").open("a") as file:
                    file.write(f"{folder.name} {fold}\n")

    return write


@pytest.fixture
def stand_in(monkeypatch, write_run):
    monkeypatch.setattr(trials, "train", write_run)
    monkeypatch.setattr(judging, "train", write_run)


@pytest.fixture
def words(tmp_path):
    """The command without --output: a config of five folds, and a space."""
    config = write_tiny_config(tmp_path / "base.yaml", tmp_path / "no data", cv={"n": 5})
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(RATES))
    return ["--config", str(config), "--space", str(tmp_path / "space.yaml"), "--trials", "7"]


def open_sweep(folder: Path, words: list[str], prune: bool = True) -> Sweep:
    folder.mkdir(parents=True, exist_ok=True)
    return Sweep.open(folder, [f"--config={words[1]}"], SPACE, prune)


def drawn(sweep: Sweep) -> list[tuple]:
    return [(trial.number, trial.state.name, trial.params, trial.value) for trial in sweep.trials(*TrialState)]


def test_a_sweep_gives_up_what_falls_behind_and_finds_the_best_rate(stand_in, words, tmp_path, capsys):
    main([*words, "--output", str(tmp_path / "sweep"), "--rescore", "1"])
    result = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    table = pd.read_csv(tmp_path / "sweep" / "trials.csv")
    assert len(table) == 7 and result["trials"]["pruned"] > 0 and result["trials"]["fail"] == 0
    assert (table[table["state"] == "pruned"]["folds"] < 5).all() and (table[table["state"] == "complete"]["folds"] == 5).all()
    trained = (tmp_path / "sweep" / "trained.txt").read_text().split("\n")
    assert len([line for line in trained if line.startswith("trial_")]) == table["folds"].sum()
    best = table.loc[table["value"].idxmax()]
    assert result["best"]["number"] == best["trial"]
    assert result["best"]["values"]["train.learning_rate"] == pytest.approx(best["train.learning_rate"])
    assert 1e-4 < best["train.learning_rate"] < 1e-2
    assert result["flattery"] == pytest.approx(result["best"]["oof"]["accuracy"] - result["nested"]["oof"]["accuracy"])
    gain = result["other_seeds"]["gain"]  # the config's own rate is the best one: nothing is to be gained
    assert gain["low"] <= 0 and "has not shown" in (tmp_path / "sweep" / "sweep.md").read_text()
    config = load_config(tmp_path / "sweep" / "best.yaml")
    assert config.train.learning_rate == result["best"]["values"]["train.learning_rate"] and config.run.output == "outputs/best"
    shown = capsys.readouterr().out
    assert "flattered" in shown and shown.rstrip().endswith("trials.csv, wandb.yaml")


def test_an_interrupted_sweep_draws_and_finds_what_an_uninterrupted_one_does(stand_in, write_run, words, tmp_path, monkeypatch):
    whole = open_sweep(tmp_path / "whole", words)
    run_trials(whole, 4)
    calls = []

    def stops_at_every_ninth(config, folds):
        calls.append(folds)
        if len(calls) % 8 == 0:
            raise Interrupted("a signal")
        write_run(config, folds)

    monkeypatch.setattr(trials, "train", stops_at_every_ninth)
    stops = 0
    while True:
        try:
            run_trials(open_sweep(tmp_path / "pieces", words), 4)
            break
        except Interrupted:
            stops += 1
    assert stops == 3
    assert drawn(open_sweep(tmp_path / "pieces", words)) == drawn(whole)


def test_a_trial_killed_between_its_last_fold_and_its_result_ends_as_it_would_have(stand_in, words, tmp_path, monkeypatch, capsys):
    whole = open_sweep(tmp_path / "whole", words)
    run_trials(whole, 4)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ")]
    assert any("given up after" in line for line in said)
    tell, killed = optuna.study.Study.tell, set()

    def killed_once(study, trial, *given, **named):
        if trial.number not in killed:
            killed.add(trial.number)
            raise Interrupted("killed")
        return tell(study, trial, *given, **named)

    monkeypatch.setattr(optuna.study.Study, "tell", killed_once)
    for _ in range(4):
        with pytest.raises(Interrupted):
            run_trials(open_sweep(tmp_path / "pieces", words), 4)
    run_trials(open_sweep(tmp_path / "pieces", words), 4)
    assert drawn(open_sweep(tmp_path / "pieces", words)) == drawn(whole)
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("trial ")] == said


def test_two_processes_share_the_trials_and_none_is_trained_twice(stand_in, words, tmp_path):
    open_sweep(tmp_path / "sweep", words, prune=False)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=lambda: run_trials(open_sweep(tmp_path / "sweep", words, prune=False), 4)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    sweep = open_sweep(tmp_path / "sweep", words)
    assert [trial.state for trial in sweep.trials(*TrialState)] == [TrialState.COMPLETE] * 4
    trained = (tmp_path / "sweep" / "trained.txt").read_text().split()
    assert len(trained) // 2 == 4 * 5 and len({tuple(pair) for pair in np.reshape(trained, (-1, 2))}) == 20


def test_a_failed_trial_is_told_and_the_sweep_goes_on_but_not_where_all_fail(stand_in, write_run, words, tmp_path, monkeypatch):
    def fails(config, folds):
        if len(list((tmp_path / "sweep").glob("trial_*/fold_4"))) in failing:
            raise UserError("too large for this machine")
        write_run(config, folds)

    monkeypatch.setattr(trials, "train", fails)
    failing = {0}
    with pytest.raises(UserError, match="too large"):
        run_trials(open_sweep(tmp_path / "sweep", words, prune=False), 3)
    failing = set()
    run_trials(open_sweep(tmp_path / "sweep", words, prune=False), 1)
    failing = {1}
    sweep = open_sweep(tmp_path / "sweep", words, prune=False)
    calls = iter(range(3))
    monkeypatch.setattr(
        trials, "train", lambda config, folds: fails(config, folds) if next(calls, None) is not None else write_run(config, folds)
    )
    run_trials(sweep, 2)
    states = [trial.state.name for trial in sweep.trials(*TrialState)]
    assert states.count("COMPLETE") == 2 and states.count("FAIL") == 4
    assert sweep.trials(TrialState.FAIL)[-1].user_attrs["error"] == "too large for this machine"
    failing = {2}
    monkeypatch.setattr(trials, "train", fails)
    with pytest.raises(UserError, match="too large"):
        run_trials(open_sweep(tmp_path / "sweep", words, prune=False), 100)
    assert len(sweep.trials(TrialState.FAIL)) == 4 + trials.FAILURES, "a sweep whose data are gone ends"


def test_the_best_by_the_other_folds_is_what_a_plain_loop_finds(tmp_path):
    runs = [read_run(make_run(tmp_path / str(seed), seed, skill=1.0, clips=80, folds=4, test_clips=0)) for seed in range(6)]
    nested, choices = nested_choice(runs, "accuracy")
    for fold, choice in enumerate(choices):
        right = [sum(run.labels[i] == run.oof[i].argmax() for i in range(80) if run.fold_of[i] != fold) for run in runs]
        assert right[choice] == max(right)
        for i in range(80):
            if runs[0].fold_of[i] == fold:
                assert nested[i].tolist() == runs[choice].oof[i].tolist()
    losses, _ = nested_choice(runs, "loss")
    assert losses.shape == nested.shape


def test_a_clip_counts_once_however_many_seeds_it_was_judged_with(tmp_path):
    best, base = (
        read_run(make_run(tmp_path / name, seed, skill, speakers=8, test_clips=0)) for name, seed, skill in (("a", 1, 2), ("b", 2, 1))
    )
    once = paired_difference(best.labels, best.oof, base.oof, best.speakers)
    thrice = gain_over_seeds([best] * 3, [base] * 3)
    assert thrice == pytest.approx(once)


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"train.learning_rat": [1e-3]}, "Did you mean train.learning_rate"),
        ({"train.epochs": [0, 3]}, "--train.epochs: given 0"),
        ({"train.epochs": {"low": 5, "high": 2}}, "low <= high"),
        ({"train.epochs": 3}, "it isn't a range or a list"),
        ({"train.mixup": {"low": 0.0, "high": 1.0, "steps": 3}}, "allowed is {low: 1, high: 5} and log: true"),
        ({"cv.n": [3, 5]}, "cv.n can't be searched"),
        ({"train.batch_size": [4, 8]}, "set on the command line too"),
        ([], "must hold keys"),
    ],
)
def test_a_space_that_cannot_be_is_refused_before_any_trial(tmp_path, space, says):
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(space))
    with pytest.raises(UserError) as told:
        read_space(path, ["--train.batch_size=4"])
    assert says in str(told.value)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--run.seeds", "[0,1]"], r"take run\.seeds and cv\.full_fit out"),
        (["--cv.full_fit", "true"], r"take run\.seeds and cv\.full_fit out"),
        (["--cv.n", "1", "--cv.file", "split.csv"], r"cv\.n: given 1"),
    ],
)
def test_a_trial_is_one_run_of_several_folds_with_one_seed(words, tmp_path, more, says):
    with pytest.raises(UserError, match=says):
        main([*words, "--output", str(tmp_path / "sweep"), *more])


def test_a_folder_belongs_to_one_sweep(stand_in, words, tmp_path):
    assert read_space(tmp_path / "space.yaml", []) == SPACE
    check_same_sweep(open_sweep(tmp_path / "sweep", words), words[3])
    with pytest.raises(UserError, match=r"train\.dropout|train\.warmup: was 0\.1, now 0\.2"):
        main([*words, "--output", str(tmp_path / "sweep"), "--train.warmup", "0.2"])
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"train.mixup": [0.0, 0.4]}))
    with pytest.raises(UserError, match=r"train\.mixup: was null, now \[0\.0, 0\.4\]"):
        main([*words, "--output", str(tmp_path / "sweep")])


def test_lists_and_null_are_values_like_others_and_the_best_config_is_short(tmp_path):
    space = {"model.classical.features": [["functionals"], ["functionals", "librosa"]], "model.classical.encoder_layers": [None]}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(space))
    words = [f"--config={ROOT}/configs/scratch_kernel.yaml"]
    found = read_space(tmp_path / "space.yaml", words)
    config = config_with(words, {key: distribution.choices[-1] for key, distribution in found.items()}, "--run.output=x")
    assert config.model.classical.features == ["functionals", "librosa"] and config.model.classical.encoder_layers is None
    text = short_yaml(config)
    (tmp_path / "best.yaml").write_text(text)
    again = flat(as_plain(load_config(tmp_path / "best.yaml")))
    assert again | {"run.output": "x"} == flat(as_plain(config)) and len(text.splitlines()) < 10


@pytest.mark.parametrize(("space", "config"), [("rates", "wav2vec2_base"), ("rates", "whisper_base"), ("kernel", "scratch_kernel")])
def test_every_space_that_comes_along_fits_its_configs(space, config):
    assert read_space(ROOT / "configs" / "sweeps" / f"{space}.yaml", [f"--config={ROOT}/configs/{config}.yaml"])


def test_the_file_for_wandb_runs_a_trial_by_the_same_keys(write_run, words, tmp_path, monkeypatch):
    path = write_wandb_file(tmp_path / "sweep", [f"--config={words[1]}"], SPACE, "accuracy")
    content = yaml.safe_load(path.read_text())
    assert content["metric"] == {"name": "accuracy", "goal": "maximize"} and content["parameters"]["train.epochs"] == {
        "values": [2, 4, 6, 8]
    }
    assert content["parameters"]["train.learning_rate"] == {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1}
    chosen = {"train.epochs": 4, "train.learning_rate": 1e-3}  # as an agent fills in ${args}
    command = [word for word in content["command"] if word != "${args}"] + [f"--{key}={value}" for key, value in chosen.items()]
    assert command[1:4] == ["python", "-m", "ser.sweep.wandb_trial"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_RUN_ID", "abc_7")
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    seen = []
    monkeypatch.setattr(wandb_trial, "train", lambda config, folds: (seen.append(config.train.epochs), write_run(config, folds)))
    wandb_trial.main(command[4:])
    assert seen == [4] * 5 and len(read_run(tmp_path / "sweep" / "wandb_trials" / "abc_7").folds) == 5
    assert "WANDB_SWEEP_ID" not in os.environ and "WANDB_RUN_ID" not in os.environ  # the folds' own runs are no trials
    (log,) = (tmp_path / "sweep" / "wandb").glob("offline-run-*-abc_7/*.wandb")
    assert b"accuracy" in log.read_bytes()


@pytest.mark.slow
def test_a_killed_sweep_of_real_trainings_goes_on_to_the_same_end(tmp_path):
    data = make_tiny_data(tmp_path / "data")
    model = {"kind": "classical", "from_scratch": None, "freeze": "feature_encoder", "classical": {"features": ["librosa"]}}
    config = write_tiny_config(tmp_path / "base.yaml", data, model=model)
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({"model.classical.alpha": {"low": 0.01, "high": 1.0, "log": True}}))
    words = ["--config", str(config), "--space", str(tmp_path / "space.yaml"), "--trials", "4", "--rescore", "1"]
    environment = os.environ | {"PYTHONPATH": str(Path(ser.__file__).parents[1])}
    kills = 0
    while True:
        process = subprocess.Popen([sys.executable, "-m", "ser.sweep", *words, "--output", str(tmp_path / "killed")], env=environment)
        try:
            process.wait(12 + 3 * kills)
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
            time.sleep(0.1)
    assert process.returncode == 0 and kills >= 1
    main([*words, "--output", str(tmp_path / "whole")])
    for name in ("trials.csv", "best.yaml", "trial_003/oof.csv", "other_seeds/best_seed_1/oof.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
