"""The table that other systems may trust: who is bound to what, written only when every blocking check holds."""

import dagster as dg

from assets.session import Session
from assets.warehouse import count_rows


@dg.asset(
    key=["published", "certified_binding"],
    deps=[["core", "binding"], ["core", "hubspot_contact"], ["core", "overwrite"], ["core", "switch_event"], ["core", "merge_event"],
          ["core", "salesforce_person"], ["core", "duplicate_cluster"], ["review", "finding"], ["raw", "pull"]],
    group_name="6_published",
    kinds={"parquet"},
)  # fmt: skip
def certified_binding(context: dg.AssetExecutionContext, session: dg.ResourceParam[Session]) -> dg.MaterializeResult[None]:
    """One row: a live HubSpot contact and the record it is bound to, as of the last green run. After a red run the last certified one stays.

    In $BINDWATCH_HOME/certified/binding.parquet, with the run and the time it was certified in each row.
    """
    folder = session.warehouse.home / "certified"
    folder.mkdir(exist_ok=True)
    with session.step(context.run_id) as connection:
        temporary = folder / ".binding.parquet"
        connection.execute(
            f"""copy (select binding.hubspot_contact_id, binding.email, binding.bound_id, binding.bound_state, run.run_id, run.finished_at as certified_at
                      from core.binding as binding, main.run as run where run.run_id = '{context.run_id}')
                to '{str(temporary).replace("'", "''")}' (format parquet, compression zstd)"""
        )
        temporary.replace(folder / "binding.parquet")
        rows = count_rows(connection, "core.binding")
    return dg.MaterializeResult(metadata={"dagster/row_count": rows, "path": dg.MetadataValue.path(str(folder / "binding.parquet"))})
