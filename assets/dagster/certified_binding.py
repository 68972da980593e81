"""The table that other systems may trust: who is bound to what, written only when every blocking check holds."""

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from assets.dagster.failure import Failed
from assets.dagster.keys import JOB, OWNERS, key, named
from assets.dagster.session import Session
from assets.files import sealed, share_like_parent, sync_file, write_whole
from assets.moments import utc_text
from assets.progress import doing
from assets.published.publish import describe_file, publish_verdict, read_certificate
from assets.verdict import Verdict


@dg.asset(
    key=key("published.certified_binding"),
    deps=[key("core.binding")],  # and by its checks on the gate, which is one step: where it is red, this is not begun
    group_name=named("6_published"),
    kinds={"parquet"},
    owners=OWNERS,
    tags={"layer": "published"},
    # so long the gate may be red before others work with bindings that nobody vouches for
    freshness_policy=dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=26), fail_window=timedelta(hours=74)),
)
def certified_binding(context: dg.AssetExecutionContext, session: dg.ResourceParam[Session]) -> dg.MaterializeResult[None]:
    """One row: a live HubSpot contact and the record it is bound to, as of the last green run. After a red run the last certified one stays. Left out is
    who cannot be told for sure, because a record that cannot be read was accepted.

    In $BINDWATCH_HOME/certified/binding.parquet, with the run and the time it was certified in each row; certificate.json beside it says the
    same of the whole file. The published manifest and the verdict in the terminal say how old it is.
    """
    with session.step(context) as connection:
        doing("the certified bindings were being written")
        certificate = certify(connection, session.warehouse.home, context.run_id)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": certificate["rows"],
            "path": dg.MetadataValue.path(str(session.warehouse.home / "certified" / "binding.parquet")),
            "certified at": certificate["certified_at"],
        }
    )


def certify(connection: duckdb.DuckDBPyConnection, home: Path, run_id: str) -> dict[str, Any]:
    """Writes the certified bindings, and says so in the published manifest. Returns the certificate. Raises Failed when the run is not green."""
    folder = home / "certified"
    folder.mkdir(exist_ok=True)
    green = connection.execute("select finished_at from main.run where run_id = ? and verdict = 'pass'", [run_id]).fetchone()
    if green is None:
        raise Failed(f"Bindings are certified by a guarded run whose gate is green. Start the job {JOB}.")
    temporary = folder / ".binding.parquet"
    connection.execute(
        """copy (select binding.hubspot_contact_id, binding.email, binding.bound_id, binding.bound_state, run.run_id, run.finished_at as certified_at
                  from core.binding as binding, main.run as run where run.run_id = ? and not binding.rests_on_set_aside)
            to ? (format parquet, compression zstd)""",
        [run_id, str(temporary)],
    )
    certificate = {"run_id": run_id, "certified_at": utc_text(green[0]), **describe_file(connection, temporary)}
    sync_file(temporary)
    share_like_parent(temporary)
    temporary.replace(folder / "binding.parquet")
    write_whole(folder / "certificate.json", json.dumps(sealed(certificate)))
    share_like_parent(folder / "certificate.json")
    publish_verdict(connection, home, {}, {})
    return certificate


def red(verdict: Verdict, violated: Sequence[str], home: Path) -> Failed:
    """How a run ends whose gate is not green: with which checks, and what is certified still."""
    certificate = read_certificate(home)
    kept = f"The bindings certified at {certificate['certified_at'][:16]}Z stay." if certificate else "No bindings were ever certified."
    return Failed(f"The gate is {'red' if verdict == 'fail' else 'unproven'}: {', '.join(violated)}. {kept}")
