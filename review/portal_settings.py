"""The page Settings: what bindwatch.toml says of the portal, beside what the last full run found in its data, and the back-test."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from assets.published.policy_scores import Comparison, Score, compare_scores, read_scores
from review.desk_data import Snapshot
from review.site import Site

_GROUPS = ("otherwise", "agrees", "untold")


def read_settings(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The settings in their order, as the last full run saw them; none where no run has looked. property: of a mapped field, else null; is_rule: it is about
    its rule; state: otherwise, agrees, or untold.
    """
    return snapshot.query(
        """select *, case when setting like 'mapping.%' then string_split(setting, '.')[2] end as property, setting like 'mapping.%.rule' as is_rule,
                  case when is_contradiction then 'otherwise' when certain then 'agrees' else 'untold' end as state
           from published.portal_setting order by position"""
    )


def summary(snapshot: Snapshot) -> dict[str, Any]:
    """For the overview. looked_at: when the data were asked last, null where they never were; otherwise, agrees, untold: how many settings."""
    rows = read_settings(snapshot)
    return {"looked_at": rows[0]["looked_at"] if rows else None, **{state: sum(row["state"] == state for row in rows) for state in _GROUPS}}


def _backtest(snapshot: Snapshot) -> tuple[list[Score], Comparison | None]:
    """Every policy, the best first, and how the others compare with it; None where nothing could be judged."""
    connection = snapshot.worklist.connection.cursor()
    found = read_scores(connection)
    return found, compare_scores(connection, found) if found and found[0].judged else None


class PortalSettings:
    def __init__(self, site: Site) -> None:
        self.site = site

    def show(self, request: Request) -> Response:
        snapshot = self.site.desk.snapshot()
        rows = read_settings(snapshot)
        scores, fit = snapshot.cases.remember("backtest", lambda: _backtest(snapshot), for_good=True)
        groups = {state: [row for row in rows if row["state"] == state] for state in _GROUPS}
        return self.site.page(request, "settings.html", snapshot=snapshot, groups=groups, looked=rows[0] if rows else None, scores=scores, fit=fit)
