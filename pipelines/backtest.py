"""`bindwatch backtest`: which policy says best what this portal's integration did?

Reads the published snapshot: `prediction_score` (how often each policy was right) and `policy_prediction` (moment by moment, so that two
policies are compared on the same moments).
"""

from dataclasses import dataclass
from math import comb

import duckdb
from rich.table import Table

from assets.shares import percent
from pipelines.report import print_whole, stdout

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Score:
    """A policy over both sources. A moment for which it names several records is judged, but no hit."""

    policy: str
    hits: int
    judged: int
    is_configured: bool


def compare_policies(snapshot: duckdb.DuckDBPyConnection) -> None:
    """Prints the scores of all policies, which fits best, and whether that means anything. snapshot: assets.snapshot.open_snapshot."""
    _print_scores(snapshot)
    scores = read_scores(snapshot)
    if not scores or scores[0].judged == 0:
        stdout.print(
            "Nothing could be judged yet: no contact with several candidates was bound, switched, or stayed while a duplicate was edited. "
            "Scores grow with every run."
        )
        return
    for line in conclusions(snapshot, scores):
        stdout.print(line, soft_wrap=True)


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


def conclusions(snapshot: duckdb.DuckDBPyConnection, scores: list[Score]) -> list[str]:
    """What the scores mean, in sentences."""
    best = scores[0]
    chances = {score.policy: chance_of_difference(*_disagreements(snapshot, best.policy, score.policy)) for score in scores[1:]}
    equal = [score.policy for score in scores[1:] if score.hits == best.hits and chances[score.policy] == 1.0]
    open_ones = [policy for policy, chance in chances.items() if chance >= SIGNIFICANT and policy not in equal]
    if len(scores) > 1 and len(equal) == len(scores) - 1:
        return [f"All {len(scores)} policies say the same at each of the {best.judged:,} moments judged: this history proves nothing about the settings."]
    lines = [f"Best fit: [bold]{best.policy}[/] ({best.hits:,} of {best.judged:,} moments)."]
    if equal:
        lines.append(f"Says the same at every moment judged, so nothing tells it apart: {'; '.join(equal)}.")
    if open_ones:
        lines.append(f"A little behind, which may be chance (p ≥ {SIGNIFICANT}): {'; '.join(open_ones)}.")
    behind = [policy for policy, chance in chances.items() if chance < SIGNIFICANT]
    if behind:
        lines.append(f"The other {len(behind)} are behind by more than chance (exact paired test, p < {SIGNIFICANT}).")
    configured = next((score for score in scores if score.is_configured), None)
    if configured is not None and configured.policy != best.policy:
        if configured.policy in equal or configured.policy in open_ones:
            lines.append(f"bindwatch.toml says [bold]{configured.policy}[/]: nothing here speaks against it.")
        else:
            difference = f"{best.hits:,} against {configured.hits:,} of {best.judged:,} moments, p = {chances[configured.policy]:.2g}"
            lines.append(f"[yellow]bindwatch.toml says [bold]{configured.policy}[/]: this portal fits {best.policy} better ({difference}). Change it there.[/]")
    elif configured is not None:
        lines.append("That is what bindwatch.toml says.")
    return lines


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


def _print_scores(snapshot: duckdb.DuckDBPyConnection) -> None:
    for source, title in (("history", "The id history that is in HubSpot"), ("runs", "Predictions of past runs")):
        rows = snapshot.execute(
            """select variant.first_sync, variant.follow_up, variant.recency, variant.is_configured,
                      score.hits, score.predictions, score.ambiguous, score.hit_rate, score.low, score.high
               from published.policy_variant as variant
               inner join published.prediction_score as score on score.policy = variant.policy
               where score.source = $source
               order by score.hits desc, score.ambiguous, variant.is_configured desc, variant.policy""",
            {"source": source},
        ).fetchall()
        judged = rows[0][5] + rows[0][6] if rows else 0
        stdout.print(f"[bold]{title}[/]: {judged:,} moments judged")
        if not judged:
            continue
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for name in ("", "first_sync", "follow_up", "recency"):
            table.add_column(name)
        for name in ("hits", "of", "ambiguous", "rate", "95 % interval"):
            table.add_column(name, justify="right", no_wrap=True)
        for first_sync, follow_up, recency, configured, hits, predictions, ambiguous, rate, low, high in rows:
            rates = ("–", "–") if rate is None else (percent(rate), f"{percent(low)} to {percent(high)}")
            table.add_row("[green]►[/]" if configured else "", first_sync, follow_up, recency, f"{hits:,}", f"{predictions:,}", f"{ambiguous:,}", *rates)
        print_whole(table)
    stdout.print("[dim]► what bindwatch.toml says[/]\n")
