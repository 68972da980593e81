"""Where a column comes from: read from the statements of the SQL files by sqlglot, which only this needs."""

from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from assets.models.sqlfile import SqlFile

_SAID = ("says_en", "does_en", "says_de", "does_de", "says_further")  # what main.said adds to a table


@lru_cache(maxsize=256)
def parse(text: str) -> exp.Expr:
    """The statement of a file. main.said('core.x', …) reads core.x: for tables and lineage it is that table. Raises SqlglotError."""
    return sqlglot.parse_one(text, read="duckdb").transform(_source_of_sentences)


def _source_of_sentences(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.Table) and isinstance(node.this, exp.Anonymous) and node.this.name == "said":
        schema, name = node.this.expressions[0].name.split(".")
        return exp.Table(this=exp.to_identifier(name), db=exp.to_identifier(schema), alias=node.args.get("alias"))
    return node


def _column_of(table: str, column: str) -> tuple[str, str]:
    """What is said comes from the column that names the case."""
    return table, "says" if column in _SAID else column


def is_query(file: SqlFile) -> bool:
    """Does a file make its table of a query? review.violation is filled by the checks."""
    statement = parse(file.text)
    return isinstance(statement, exp.Create) and isinstance(statement.expression, exp.Query)


def column_lineage(file: SqlFile, schema: dict[str, dict[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """For each column of a file's table, the (table, column) pairs it comes from. schema: columns of every table, by schema.name."""
    nested: dict[str, dict[str, dict[str, str]]] = {}
    for table, columns in schema.items():
        database, name = table.split(".")
        nested.setdefault(database, {})[name] = columns | (dict.fromkeys(_SAID, "VARCHAR") if "says" in columns else {})
    if not is_query(file):
        return {}
    query = qualify(parse(file.text).expression.copy(), schema=dict(nested), dialect="duckdb", validate_qualify_columns=False, identify=False)
    # all columns in one walk, and no copy of the query for each of them: the copies took nine tenths of the time
    roots = lineage(None, query, scope=build_scope(query), schema=nested, dialect="duckdb", trim_selects=False, copy=False)
    return {
        column: sorted({
            _column_of(f"{node.source.db}.{node.source.name}", node.name.rsplit(".", 1)[-1])
            for node in roots[column].walk()
            if isinstance(node.source, exp.Table) and node.source.db and not node.downstream
        })
        for column in schema.get(file.table, {})
    }  # fmt: skip
