"""docs/checks.md, made from the headers of the check files: `make docs`."""

import re

from expectations.gate import TABLE_SUITES, check_specs, checks

_INTRODUCTION = """# The checks

*Made from the headers of the SQL files under `expectations/` by `make docs`. Change the files, not this page.*

A check is a query that returns its violations. `block` fails the run, `warn` does not, `unproven` says that the run proves nothing. The
severity can be changed, or the check turned off, in `bindwatch.toml`, unless it is `unproven`. Rule numbers (rule 11) and the statements of the
founding source (F3) are explained in [integration.md](integration.md).
"""


def render_catalogue() -> str:
    """The page as Markdown: one section a check suite, then the table suites."""
    lines = [_INTRODUCTION]
    suite = None
    for check in checks():
        if check.suite != suite:
            suite = check.suite
            lines.append(f"## Suite `{suite}`\n")
        title, *paragraphs = check.paragraphs
        lines += [f"### `{check.name}`\n", f"**{title}**\n"]
        lines.append(f"Severity: {'; '.join(check.entries['severity'])}. Basis: {check.basis}. Speaks about `{'.'.join(check.on)}`.\n")
        lines += ["- " + re.sub(r"^(Fails when|\w[\w ]*:)", r"**\1**", _with_sources(paragraph)) for paragraph in paragraphs]
        lines.append("")
    lines.append("## Table suites\n")
    lines.append(f"Built-in and SQL expectations on whole tables, in `{TABLE_SUITES.relative_to(TABLE_SUITES.parent.parent)}/*.json`.\n")
    lines += ["| suite | check | table | what must hold |", "|---|---|---|---|"]
    for spec in check_specs():
        if spec.suite.startswith("tables/"):
            lines.append(f"| {spec.suite.removeprefix('tables/')} | `{spec.name}` | `{'.'.join(spec.asset)}` | {spec.description} |")
    return "\n".join(lines).rstrip() + "\n"


def _with_sources(paragraph: str) -> str:
    """What a check rests on, with links to where its source stands."""
    if not paragraph.startswith("Rests on:"):
        return paragraph
    linked = re.sub(r"\b(rules? \d+)", r"[\1](integration.md#3-the-rules)", paragraph)
    return re.sub(r"\b(F\d)\b", r"[\1](integration.md#1-the-founding-source)", linked)


if __name__ == "__main__":
    print(render_catalogue(), end="")
