"""What a value of the policy means stands in one place, and a value of which nothing is said there ends the build. So do facts about Salesforce's objects."""

from math import prod

import duckdb
import pytest

from assets.models.build import build_models
from assets.policy import KNOB_VALUES, OBJECTS, Policy
from assets.problems import UnexpectedProblem
from assets.record_ids import ID_PROPERTIES, PREFIXES
from assets.warehouse.policy_tables import write_policy
from tests.crm import Crm

KNOBS = [*(f"policy.{name}" for name in KNOB_VALUES), "policy.objects", "mapping.rule", "mapping.consent"]


def policy_with(knob: str, value: str) -> Policy:
    """A policy as no file can have it: with a value that is in no list."""
    section, name = knob.split(".")
    policy = Policy()
    if section == "mapping":
        mapped = policy.mapped[0].model_copy(update={name: value})
        return policy.model_copy(update={"mapping": (mapped,)})
    given = ("Contact", value) if name == "objects" else value
    return policy.model_copy(update={"policy": policy.policy.model_copy(update={name: given})})


@pytest.fixture(scope="module")
def warehouse() -> duckdb.DuckDBPyConnection:
    return Crm().connection


@pytest.mark.parametrize("knob", KNOBS)
def test_a_value_of_which_nothing_is_said_ends_the_build_and_is_named(warehouse: duckdb.DuckDBPyConnection, knob: str) -> None:
    write_policy(warehouse, policy_with(knob, "by_moonlight"), "https://org.example", [])
    with pytest.raises(UnexpectedProblem, match=f"{knob} = by_moonlight has no meaning in assets/models/sql/raw/macros.sql"):
        build_models(warehouse, [], until=["core.policy_variant"])


def test_every_value_that_the_policy_lets_through_has_a_meaning_and_every_combination_is_back_tested(warehouse: duckdb.DuckDBPyConnection) -> None:
    write_policy(warehouse, Policy(), "https://org.example", [])
    build_models(warehouse, [], until=["core.policy_variant"])
    assert {knob for (knob,) in warehouse.execute("select distinct knob from staging.knob_value").fetchall()} == set(KNOBS)
    (policies, configured) = warehouse.execute("select count(distinct policy), count(*) filter (where is_configured) from core.policy_variant").fetchone() or ()
    assert (policies, configured) == (prod(len(KNOB_VALUES[name]) for name in ("first_sync", "follow_up", "recency")), 1)


def test_sql_and_python_know_the_same_of_salesforces_objects(warehouse: duckdb.DuckDBPyConnection) -> None:
    (told,) = warehouse.execute("select main.salesforce_objects()").fetchone() or ({},)
    assert told == {"object_type": [*OBJECTS], "prefix": [PREFIXES[name] for name in OBJECTS], "id_property": [ID_PROPERTIES[name] for name in OBJECTS]}
    is_one = "select list_transform(main.salesforce_objects().id_property, lambda name: main.is_id_property(name))"
    assert warehouse.execute(is_one).fetchone() == ([True, True],)
