"""How often a jump has a name and a value its source, on generated worlds of which the simulator knows the truth: `python -m benchmarks.sources 50 0 50 100`.

First the worlds of each policy, then the policies (numbers of tests.agreement.policies). Prints one line for each way in which Salesforce keeps its field
history: how many jumps, how many with a name, how many names were wrong; how many foreign values were told as foreign, as unclear and as typed, and the
typed values likewise. Two minutes for the example.
"""

import sys
from collections import Counter
from collections.abc import Sequence

from sandbox.world import Tracking
from tests.agreement import Batch, policies
from tests.test_agreement import worlds

TOLD = ("foreign", "unclear", "typed")


def count(tracking: Tracking, number: int, chosen: Sequence[int]) -> Counter[str]:
    """What the models said of the jumps and values of so many worlds of each policy, as tests.agreement counts it, and `wrong`, of disagreements."""
    found: Counter[str] = Counter()
    for policy in chosen:
        batch = Batch(policies()[policy], worlds(policy, number), tracking).run()
        found.update(batch.compared)
        found["wrong"] += sum("SQL names" in disagreement.what for disagreement in batch.disagreements)
    return found


def line(name: str, found: Counter[str]) -> str:
    told = " · ".join(f"{truth}: " + ", ".join(f"{found[f'{truth} told {said}']} {said}" for said in TOLD) for truth in ("foreign", "typed"))
    return f"{name}: {found['jump']} jumps, {found['jump named'] / max(found['jump'], 1):.0%} with a name, {found['wrong']} wrong · {told}"


def main() -> None:
    number, *chosen = map(int, sys.argv[1:] or ("50", "0", "50", "100"))
    print(line("no field history", count("none", number, chosen)), flush=True)
    print(line("all mapped fields tracked", count("all", number, chosen)), flush=True)


if __name__ == "__main__":
    main()
