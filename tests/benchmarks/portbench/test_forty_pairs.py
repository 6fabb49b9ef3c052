"""The doctor judges forty pairs, which are drawn and checked for this; it takes about 8 minutes."""

from contextlib import closing
from dataclasses import replace

import pytest

from benchmarks.portbench.function_tool import FunctionTool
from benchmarks.portbench.generate import Order, generate
from benchmarks.portbench.requirement import Requirement
from benchmarks.portbench.score import score
from benchmarks.portbench.summary import summary, text, wrong

SEED = 40
PAIRS = {1: 26, 2: 8, 0: 6}  # by the number of faults
REQUIRED = ("cause=0.95", "stage=0.99", "both=0.85", "false-alarms=0")
SECONDS_FOR_A_PAIR = 300


@pytest.mark.slow
@pytest.mark.process
def test_the_doctor_names_the_faults_of_forty_pairs(tmp_path):
    outcomes = []
    with closing(FunctionTool("triptych.api:diagnose", SECONDS_FOR_A_PAIR)) as tool:
        for faults, count in PAIRS.items():
            folder = tmp_path / f"faults-{faults}"
            generate(Order(SEED, count, faults), folder)
            judged = score(folder, tool, tmp_path / "answers" / folder.name)
            outcomes += [replace(each, pair=f"{folder.name}/{each.pair}") for each in judged]
    figures = summary(outcomes)
    print(*text(figures), sep="\n")
    problems = [Requirement.parse(required).problem(figures) for required in REQUIRED]
    lines = [*filter(None, problems), *wrong(figures)]
    assert figures["pairs"] == 40
    assert not any(problems), "\n".join(lines)
    assert not figures["no_answer"], "\n".join(lines)
