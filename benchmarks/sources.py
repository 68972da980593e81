"""How often a jump has a name and a value its source, on generated worlds of which the simulator knows the truth: `python -m benchmarks.sources 50 0 50 100`.

First the worlds of each policy, then the policies (numbers of tests.agreement.policies). Prints for each way in which Salesforce keeps its field history:
how many jumps, and how many of them got a name; the same of jumps that somebody brought about who changed or created something (the others: records that
the integration created, and edits that change no field, which leave no trace); how many names were wrong; how many foreign values were told as foreign, as
unclear and as typed, and the typed values likewise; and what the restore plan does with the foreign values that still stand there. Half a minute a policy.
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
        found["wrong"] += sum(" SQL names " in d.what or "was typed by" in d.what for d in batch.disagreements)
    return found


def lines(name: str, found: Counter[str]) -> list[str]:
    named, not_named = found["jump by somebody named"], found["jump by somebody not named"]
    planned = "foreign and still there, plan: "
    return [
        f"{name}: {found['jump']:,} jumps, {found['jump named']:,} with a name, {found['wrong']} wrong",
        f"  brought about by somebody: {named + not_named:,}, {named:,} with a name ({named / max(named + not_named, 1):.1%})",
        *(f"  {truth} values: " + ", ".join(f"{found[f'{truth} told {said}']:,} told {said}" for said in TOLD) for truth in ("foreign", "typed")),
        "  the plan on foreign values that still stand there: "
        + ", ".join(f"{times:,} {what.removeprefix(planned)}" for what, times in sorted(found.items()) if what.startswith(planned)),
    ]


def main() -> None:
    number, *chosen = map(int, sys.argv[1:] or ("50", "0", "50", "100"))
    print(*lines("no field history", count("none", number, chosen)), sep="\n", flush=True)
    print(*lines("all mapped fields tracked", count("all", number, chosen)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
