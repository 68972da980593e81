"""Which policy says best what this portal's integration did?

Reads the published snapshot: `prediction_score` (how often each policy was right) and `policy_prediction` (moment by moment, so that two
policies are compared on the same moments).
"""

from dataclasses import dataclass
from math import comb

import duckdb

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Score:
    """A policy over both sources. A moment for which it names several records is judged, but no hit."""

    policy: str
    hits: int
    judged: int
    is_configured: bool


@dataclass(frozen=True)
class Comparison:
    """The policies against the best one. equal: say the same at every moment; perhaps: a little behind, which may be chance; behind: how many are behind by
    more than that; configured: what bindwatch.toml says, with the chance of its difference to the best, or None where it is not among them.
    """

    best: Score
    equal: list[str]
    perhaps: list[str]
    behind: int
    configured: tuple[Score, float] | None

    @property
    def proves_nothing(self) -> bool:
        """Do all policies say the same?"""
        return bool(self.equal) and not self.perhaps and not self.behind

    @property
    def is_configured_well(self) -> bool:
        """Does nothing here speak against bindwatch.toml?"""
        if self.configured is None:
            return True
        policy = self.configured[0].policy
        return policy == self.best.policy or policy in self.equal or policy in self.perhaps


def read_scores(snapshot: duckdb.DuckDBPyConnection) -> list[Score]:
    """Every policy, the best first. The configured one comes first among equals."""
    rows = snapshot.execute(
        """select score.policy, sum(score.hits), sum(score.predictions + score.ambiguous), bool_or(variant.is_configured)
           from published.prediction_score as score
           inner join published.policy_variant as variant on variant.policy = score.policy
           group by score.policy
           order by 2 desc, 4 desc, score.policy""",
    ).fetchall()
    return [Score(*row) for row in rows]


def compare_scores(snapshot: duckdb.DuckDBPyConnection, scores: list[Score]) -> Comparison:
    """scores: as read_scores gives them, at least one."""
    best = scores[0]
    chances = {score.policy: chance_of_difference(*_disagreements(snapshot, best.policy, score.policy)) for score in scores[1:]}
    equal = [score.policy for score in scores[1:] if score.hits == best.hits and chances[score.policy] == 1.0]
    perhaps = [policy for policy, chance in chances.items() if chance >= SIGNIFICANT and policy not in equal]
    configured = next((score for score in scores if score.is_configured), None)
    return Comparison(
        best, equal, perhaps, len(chances) - len(equal) - len(perhaps), (configured, chances.get(configured.policy, 1.0)) if configured is not None else None
    )


def chance_of_difference(only_first: int, only_second: int) -> float:
    """Two-sided exact sign test (McNemar): how likely so uneven a split is, when both policies are equally good.

    only_first, only_second: moments that only one of the two had right.
    """
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    tail: float = sum(comb(discordant, k) for k in range(min(only_first, only_second) + 1)) / 2**discordant
    return min(1.0, 2 * tail)


def _disagreements(snapshot: duckdb.DuckDBPyConnection, first: str, second: str) -> tuple[int, int]:
    row = snapshot.execute(
        """select count(*) filter (where coalesce(a.is_hit, false) and not coalesce(b.is_hit, false)),
                  count(*) filter (where coalesce(b.is_hit, false) and not coalesce(a.is_hit, false))
           from published.policy_prediction as a
           inner join published.policy_prediction as b
               on a.source = b.source and a.hubspot_contact_id = b.hubspot_contact_id and a.moment_at = b.moment_at
           where a.policy = $first and b.policy = $second""",
        {"first": first, "second": second},
    ).fetchone()
    return (row[0], row[1]) if row else (0, 0)
