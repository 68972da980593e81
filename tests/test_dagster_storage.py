"""Dagster's history with kept connections: the same files and the same answers as Dagster's own."""

from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from pipelines.dagster_storage import _KEPT, KeptEventLogStorage


@dg.asset
def thing(context: dg.AssetExecutionContext) -> None:
    context.log.info("made")


def instance_on(folder: Path, storage: str) -> dg.DagsterInstance:
    folder.mkdir(exist_ok=True)
    module, name = storage.rsplit(".", 1)
    (folder / "dagster.yaml").write_text(
        f"telemetry: {{enabled: false}}\nstorage: {{custom: {{module: {module}, class: {name}, config: {{base_dir: '{folder}'}}}}}}\n", "utf-8"
    )
    return dg.DagsterInstance.from_config(str(folder))


def test_what_it_writes_is_read_by_dagsters_own_storage_and_the_other_way_round(tmp_path: Path) -> None:
    kept, own = "pipelines.dagster_storage.KeptStorage", "dagster._core.storage.sqlite_storage.DagsterSqliteStorage"
    runs = []
    for writer, reader in ((kept, own), (own, kept)):
        with instance_on(tmp_path / "dagster", writer) as instance:
            assert isinstance(instance.event_log_storage, KeptEventLogStorage if writer == kept else SqliteEventLogStorage)
            runs.append(dg.materialize([thing], instance=instance).run_id)
        with instance_on(tmp_path / "dagster", reader) as instance:
            assert {run.run_id for run in instance.get_runs()} == set(runs)
            said = [entry.user_message for entry in instance.all_logs(runs[-1])]
            assert "made" in said
            event = instance.get_latest_materialization_event(thing.key)
            assert event is not None
            assert event.run_id == runs[-1]


@dg.asset_check(asset=thing)
def is_well() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def test_what_a_run_is_going_to_do_is_written_at_once_and_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    for size in ("0", "1000"):
        monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", size)
        with instance_on(tmp_path / size, "pipelines.dagster_storage.KeptStorage") as instance:
            run = dg.materialize([thing, is_well], instance=instance).run_id
            (check,) = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(thing.key, "is_well"), limit=9)
            told.append(
                ([(entry.get_dagster_event().event_type_value, entry.step_key) for entry in instance.all_logs(run) if entry.is_dagster_event], check.status)
            )
            assert check.run_id == run
    assert told[0] == told[1]
    assert {"ASSET_MATERIALIZATION_PLANNED", "ASSET_CHECK_EVALUATION_PLANNED"} <= {kind for kind, _ in told[1][0]}


def test_of_events_that_cannot_be_written_at_once_none_is_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with instance_on(tmp_path / "dagster", "pipelines.dagster_storage.KeptStorage") as instance:
        storage = instance.event_log_storage
        run = dg.materialize([thing], instance=instance).run_id
        planned = [entry for entry in instance.all_logs(run) if entry.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED]
        with monkeypatch.context() as patched:
            patched.setattr(KeptEventLogStorage, "_store_asset_event_tags", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                storage.store_event_batch(planned * 2)
        assert len(instance.all_logs(run, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)) == len(planned) == 1
        storage.store_event_batch(planned * 2)
        assert len(instance.all_logs(run, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)) == 3


def test_more_runs_than_files_are_kept_open_and_one_that_is_gone(tmp_path: Path) -> None:
    with instance_on(tmp_path / "dagster", "pipelines.dagster_storage.KeptStorage") as instance:
        runs = [dg.materialize([thing], instance=instance).run_id for _ in range(_KEPT + 2)]
        assert all(instance.all_logs(run) for run in runs)
        instance.delete_run(runs[0])
        assert len(instance.get_runs()) == len(runs) - 1
        (tmp_path / "dagster" / "history" / "runs" / f"{runs[1]}.db").unlink()
        assert instance.all_logs(runs[1]) == []
        instance.wipe()
        assert instance.get_runs() == []
        assert dg.materialize([thing], instance=instance).success


def test_a_power_cut_may_cost_the_last_events_but_no_file(tmp_path: Path) -> None:
    with instance_on(tmp_path / "dagster", "pipelines.dagster_storage.KeptStorage") as instance:
        storage = instance.event_log_storage
        assert isinstance(storage, KeptEventLogStorage)
        with storage.index_connection() as connection:
            assert connection.exec_driver_sql("pragma synchronous").scalar() == 1
            assert connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"
