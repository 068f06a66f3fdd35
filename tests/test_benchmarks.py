"""python -m benchmarks: ways in turn, ratios of neighbours, a file that says on which machine."""

import json
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))
from benchmarks.__main__ import PARTS, main, options_of, parse, passed_on  # noqa: E402 - found by the path above
from benchmarks.measuring import Case, in_turn  # noqa: E402


def test_ways_take_turns_and_the_first_round_warms_up():
    order = []
    seconds = in_turn({"plain": lambda: order.append("plain") or 4.0, "own": lambda: order.append("own") or 2.0}, rounds=2)
    assert order == ["plain", "own"] * 3
    assert seconds == {"plain": [4.0, 4.0], "own": [2.0, 2.0]}
    assert in_turn({"timed": lambda: None}, rounds=1, warm=False)["timed"][0] > 0


def test_a_ratio_is_the_median_of_pairs_so_that_a_busy_minute_does_not_decide():
    case = Case("x", {"plain": [1.0, 10.0, 1.2], "own": [0.5, 5.0, 0.4]}, 10, "clips")
    assert case.ratio("own") == 2.0
    assert case.as_plain()["median_seconds"] == {"plain": 1.2, "own": 0.5}
    assert any("20.0 clips/s" in line and "2.00" in line for line in case.lines())


def test_a_part_in_a_process_of_its_own_gets_the_same_options(capsys):
    given = parse(["training", "--rounds", "3", "--sizes", "tiny", "base", "--workers", "0"])
    again = parse(["training", *passed_on(given)])
    assert options_of(again) == options_of(given)
    with pytest.raises(SystemExit):
        parse(["speed"])
    assert "given speed; allowed are decoding, augmentation" in capsys.readouterr().err


def run_quick(output: Path, monkeypatch: pytest.MonkeyPatch, *parts: str) -> dict:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")  # for the process of each part
    main([*parts, "--quick", "--output", str(output)])
    return json.loads(output.read_text())


def test_a_part_leaves_its_figures_and_the_machine(tmp_path, monkeypatch, capsys):
    found = run_quick(tmp_path / "figures.json", monkeypatch, "augmentation")
    assert (
        capsys.readouterr().out.splitlines()[-1]
        == f"made {tmp_path}/figures.json (augmentation; the machine, every round) and {tmp_path}/figures.md (a table)"
    )
    assert found["machine"]["device"] and len(found["machine"]["load_before"]) == 3
    gain = next(case for case in found["parts"]["augmentation"]["cases"] if case["name"] == "gain")
    assert gain["ratio_to_the_ordinary_way"]["through Augmenter"] > 0
    assert found["parts"]["augmentation"]["peak_memory_mb"] > 10
    first, *table = (tmp_path / "figures.md").read_text().splitlines()
    assert found["machine"]["device"] in first
    row = next(line for line in table if "| gain |" in line)
    assert f"| **{gain['ratio_to_the_ordinary_way']['through Augmenter']:.2f}** | 1 |" in row
    assert len({line.count("|") for line in table if line}) == 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_part_runs(tmp_path, monkeypatch):
    found = run_quick(tmp_path / "figures.json", monkeypatch)
    assert list(found["parts"]) == list(PARTS)
