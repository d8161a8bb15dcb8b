"""Kill demos with ``kill -9`` at random moments of every step, on the embedded database.

    python benchmarks/chaos.py [--kills 40] [--seed N]

The runs of a home are killed at random moments before the first step and in every asset of the cycle, in order, so that
each is hit while it has work to do: only the process of the run, only the embedded database, or every process of the
home at once. Further homes follow until there are enough kills and every asset was hit. The run after a kill must
complete (or be killed itself). In the end, the home must hold the same rows as an undisturbed one, and nothing else.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from verdict import Verdict  # noqa: E402

from aperture_dagster_tests import chaos  # noqa: E402

MOST_HOMES = 8
BEFORE_THE_FIRST_STEP = 2


def main() -> int:
    """Run the benchmark, and return 0 if nothing was lost or left behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    options = parser.parse_args()
    chance = random.Random(options.seed)
    assets = chaos.demo_assets()
    started = time.monotonic()
    killed: Counter[str] = Counter()
    kinds: Counter[chaos.Kind] = Counter()
    passed = 0
    problems: list[str] = []
    print(f"seed {options.seed}; {len(assets)} assets", flush=True)
    with tempfile.TemporaryDirectory(prefix="aperture-chaos-", ignore_cleanup_errors=True) as folder:
        with chaos.demo_home_in(Path(folder) / "undisturbed") as home:
            summary = chaos.outcome_of(home.run())
            steps, undisturbed = home.steps(), home.content()
            problems += home.left_behind()
        first = min(step.begins for step in steps)
        targets = [step for step in steps if step.name in assets]
        unseen = assets - {step.name for step in targets}
        problems += [f"{asset} is not among the steps of a run" for asset in unseen]
        for number in range(1, MOST_HOMES + 1):
            if kinds.total() >= options.kills and not assets - set(killed):
                break
            with chaos.demo_home_in(Path(folder) / str(number)) as home:
                try:
                    for _ in range(BEFORE_THE_FIRST_STEP):
                        kind, after = chance.choice(chaos.KINDS), chance.uniform(0, first)
                        home.run_and_kill(kind, after)
                        print(f"home {number}: {kind:<10} {after:5.2f} s from the start", flush=True)
                    chaos.kill_in_each_step(
                        home, targets, chance, report=lambda line, n=number: print(f"home {n}: {line}", flush=True)
                    )
                    ended = chaos.outcome_of(home.run())
                    found = chaos.differences(home.content(), undisturbed) + chaos.differences(ended, summary)
                    found += home.left_behind()
                    killed += home.killed_steps()
                except chaos.RunFailed as failed:
                    found = [f"a run that was not killed failed: {failed}"]
                kinds += home.kills
                passed += home.passed
            print(f"home {number}: {'; '.join(found) or 'same result, nothing left behind'}", flush=True)
            problems += found
    print(f"{kinds.total()} kills in {time.monotonic() - started:.0f} s: {dict(kinds)}")
    print(f"during {', '.join(f'{where} {count}' for where, count in killed.most_common())}")
    missed = sorted(assets - set(killed))
    print(
        f"assets hit: {len(assets) - len(missed)} of {len(assets)}{', without ' + ', '.join(missed) if missed else ''}"
    )
    print(f"runs that ended before their kill: {passed}")
    for problem in problems:
        print(f"PROBLEM {problem}")
    verdict = Verdict()
    verdict.most("problems", len(problems), 0)
    verdict.most("assets that were never hit", len(missed), 0)
    verdict.least("kills", kinds.total(), options.kills)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(main())
