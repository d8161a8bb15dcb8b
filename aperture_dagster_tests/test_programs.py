"""No test waits for a program for ever, whatever that does, and the message says what it wrote."""

from __future__ import annotations

import signal
import time

import psutil
import pytest

from aperture_dagster_tests.programs import Program, run_program

SLEEPS = "import sys, time; print('begun', flush=True); print('a hint', file=sys.stderr, flush=True); time.sleep(600)"
LEAVES = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid, flush=True)"


@pytest.mark.parametrize(
    "wait",
    [
        lambda program: [program.readline(5), program.readline(0.2)],
        lambda program: program.readline(5) and program.wait(0.2),
        lambda program: program.readline(5) and program.communicate(timeout=0.2),
    ],
    ids=["a line", "the end", "the end of the output"],
)
def test_a_program_that_stands_still_after_its_first_line_is_killed_and_what_it_wrote_is_said(wait):
    program, began = Program(SLEEPS), time.monotonic()
    with pytest.raises(AssertionError, match=r"(?s)the program .* it said 'begun\\n', and of errors: a hint"):
        wait(program)
    assert time.monotonic() - began < 60
    assert program.returncode == -signal.SIGKILL


def test_a_child_that_keeps_the_output_of_a_program_that_has_ended_is_not_waited_for():
    program = Program(LEAVES)
    child = psutil.Process(int(program.readline()))
    try:
        with pytest.raises(AssertionError, match=r"the program went on for 0 s"):
            program.communicate(timeout=0.2)
    finally:
        child.kill()


def test_a_program_gets_its_input_and_arguments_and_returns_all_that_it_wrote():
    text = "import sys; print(sys.argv[1], sys.stdin.read()); print('e' * 100_000, file=sys.stderr); sys.exit(3)"
    program = Program(text, "an argument")
    said, errors = program.communicate("given")
    assert (said, len(errors), program.returncode) == ("an argument given\n", 100_001, 3)
    done = run_program(text, "alone")
    assert (done.returncode, done.stdout) == (3, "alone \n")
