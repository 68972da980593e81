"""`bindwatch backtest`: which policy says best what this portal's integration did? (assets/published/policy_scores.py)"""

import duckdb
from rich.table import Table

from assets.published.policy_scores import SIGNIFICANT, Score, compare_scores, read_scores
from assets.shares import percent
from pipelines.terminal import print_whole, stdout


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


def conclusions(snapshot: duckdb.DuckDBPyConnection, scores: list[Score]) -> list[str]:
    """What the scores mean, in sentences."""
    found = compare_scores(snapshot, scores)
    best = found.best
    if found.proves_nothing:
        return [f"All {len(scores)} policies say the same at each of the {best.judged:,} moments judged: this history proves nothing about the settings."]
    lines = [f"Best fit: [bold]{best.policy}[/] ({best.hits:,} of {best.judged:,} moments)."]
    if found.equal:
        lines.append(f"Says the same at every moment judged, so nothing tells it apart: {'; '.join(found.equal)}.")
    if found.perhaps:
        lines.append(f"A little behind, which may be chance (p ≥ {SIGNIFICANT}): {'; '.join(found.perhaps)}.")
    if found.behind:
        lines.append(f"The other {found.behind} are behind by more than chance (exact paired test, p < {SIGNIFICANT}).")
    if found.configured is None:
        return lines
    configured, chance = found.configured
    if configured.policy == best.policy:
        lines.append("That is what bindwatch.toml says.")
    elif found.is_configured_well:
        lines.append(f"bindwatch.toml says [bold]{configured.policy}[/]: nothing here speaks against it.")
    else:
        difference = f"{best.hits:,} against {configured.hits:,} of {best.judged:,} moments, p = {chance:.2g}"
        lines.append(f"[yellow]bindwatch.toml says [bold]{configured.policy}[/]: this portal fits {best.policy} better ({difference}). Change it there.[/]")
    return lines


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
