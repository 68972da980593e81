"""`bindwatch backtest`: which policy says best what this portal's integration did?

Reads the published snapshot: `prediction_score` (how often each policy was right) and `policy_prediction` (moment by moment, so that two
policies are compared on the same moments).
"""

from dataclasses import dataclass
from math import comb
from pathlib import Path

import duckdb
from rich.markup import escape
from rich.table import Table

from assets.problems import WarehouseProblem
from assets.snapshot import current_folder
from pipelines.report import stdout

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Score:
    """A policy over both sources. A moment for which it names several records is judged, but no hit."""

    policy: str
    hits: int
    judged: int
    is_configured: bool


def compare_policies(folder: Path) -> None:
    """Prints the scores of all policies, which fits best, and whether that means anything.

    Raises WarehouseProblem when the snapshot has no scores.
    """
    if not (folder / "prediction_score.parquet").exists():
        raise WarehouseProblem(f"The snapshot in {folder} was published by a version that kept no scores. Run `bindwatch run` once.")
    _print_scores(folder)
    scores = read_scores(folder)
    if not scores or scores[0].judged == 0:
        stdout.print(
            "Nothing could be judged yet: no contact with several candidates was bound, switched, or stayed while a duplicate was edited. "
            "Scores grow with every run."
        )
        return
    for line in conclusions(folder, scores):
        stdout.print(line, soft_wrap=True)


def read_scores(folder: Path) -> list[Score]:
    """Every policy, the best first. The configured one comes first among equals."""
    rows = duckdb.execute(
        """select score.policy, sum(score.hits), sum(score.predictions + score.ambiguous), bool_or(variant.is_configured)
           from read_parquet($score) as score
           inner join read_parquet($variant) as variant on variant.policy = score.policy
           group by score.policy
           order by 2 desc, 4 desc, score.policy""",
        {"score": str(folder / "prediction_score.parquet"), "variant": str(folder / "policy_variant.parquet")},
    ).fetchall()
    return [Score(*row) for row in rows]


def conclusions(folder: Path, scores: list[Score]) -> list[str]:
    """What the scores mean, in sentences."""
    best = scores[0]
    chances = {score.policy: chance_of_difference(*_disagreements(folder, best.policy, score.policy)) for score in scores[1:]}
    equal = [score.policy for score in scores[1:] if score.hits == best.hits and chances[score.policy] == 1.0]
    open_ones = [policy for policy, chance in chances.items() if chance >= SIGNIFICANT and policy not in equal]
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
    tail = sum(comb(discordant, k) for k in range(min(only_first, only_second) + 1)) / 2**discordant
    return min(1.0, 2 * tail)


def _disagreements(folder: Path, first: str, second: str) -> tuple[int, int]:
    row = duckdb.execute(
        """select count(*) filter (where coalesce(a.is_hit, false) and not coalesce(b.is_hit, false)),
                  count(*) filter (where coalesce(b.is_hit, false) and not coalesce(a.is_hit, false))
           from read_parquet($path) as a
           inner join read_parquet($path) as b
               on a.source = b.source and a.hubspot_contact_id = b.hubspot_contact_id and a.moment_at = b.moment_at
           where a.policy = $first and b.policy = $second""",
        {"path": str(folder / "policy_prediction.parquet"), "first": first, "second": second},
    ).fetchone()
    return (row[0], row[1]) if row else (0, 0)


def _print_scores(folder: Path) -> None:
    for source, title in (("history", "The id history that is in HubSpot"), ("runs", "Predictions of past runs")):
        rows = duckdb.execute(
            """select variant.first_sync, variant.follow_up, variant.recency, variant.is_configured,
                      score.hits, score.predictions, score.ambiguous, score.hit_rate, score.low, score.high
               from read_parquet($variant) as variant
               inner join read_parquet($score) as score on score.policy = variant.policy
               where score.source = $source
               order by score.hits desc, score.ambiguous, variant.is_configured desc, variant.policy""",
            {"score": str(folder / "prediction_score.parquet"), "variant": str(folder / "policy_variant.parquet"), "source": source},
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
            rates = ("–", "–") if rate is None else (f"{rate:.1%}", f"{low:.0%} to {high:.0%}")
            table.add_row("[green]►[/]" if configured else "", first_sync, follow_up, recency, f"{hits:,}", f"{predictions:,}", f"{ambiguous:,}", *rates)
        stdout.print(table)
    stdout.print("[dim]► what bindwatch.toml says[/]\n")


def current_snapshot(home: Path) -> Path:
    """The folder of the current snapshot. Raises WarehouseProblem when there is none."""
    folder = current_folder(home)
    if folder is None:
        raise WarehouseProblem(f"{escape(str(home))} has no published snapshot yet. Run `bindwatch run` first.")
    return folder
