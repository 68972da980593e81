"""Writes docs/benchmarks.md and its plot from measurements. The text around the numbers is in the template below."""

import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

DOCS = Path(__file__).parent.parent / "docs"
TARGETS = {1_000_000: 10, 10_000_000: 120}


def write_report(results: list[dict[str, Any]], at: datetime) -> None:
    """results: what benchmarks.models.measure returned, by size. Rewrites their part of docs/benchmarks.md, and the plot."""
    replace_measured("models", render(results), at)
    (DOCS / "images" / "benchmark-models.svg").write_text(plot([r for r in results if not r["is_dense"]]), "utf-8")


def replace_measured(name: str, measured: str, at: datetime) -> None:
    """Rewrites the part of docs/benchmarks.md between the marks `measured: name` and `end: name`: Markdown, below the machine it was measured on."""
    path = DOCS / "benchmarks.md"
    begin, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
    before, rest = path.read_text("utf-8").split(begin)
    after = rest.split(end)[1]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = (
        f"Measured on {at:%d %B %Y} with {os.cpu_count()} cores and {memory:.0f} GB of memory ({platform.machine()}), "
        f"DuckDB {duckdb.__version__}, Python {platform.python_version()}."
    )
    path.write_text(f"{before}{begin}\n{machine}\n\n{measured}\n{end}{after}", "utf-8")


def render(results: list[dict[str, Any]]) -> str:
    """The measurements as Markdown."""
    lines = [
        "| Salesforce records | HubSpot contacts | all models and checks | target | publishing | floor | models ÷ floor | with publishing | peak | rows |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        target = TARGETS.get(r["records"])
        both = r["seconds"] + r["publish_seconds"]
        lines.append(
            f"| {r['records']:,}{', dense' if r['is_dense'] else ''} | {r['contacts']:,} | **{r['seconds']:.1f} s** | {f'≤ {target} s' if target else ''} | "
            f"{r['publish_seconds']:.1f} s | {r['floor_seconds']:.1f} s | {r['seconds'] / r['floor_seconds']:.1f} | {both / r['floor_seconds']:.1f} | "
            f"{r['peak_memory'] / 2**30:.1f} GiB | {r['rows']:,} |"
        )
    lines += [
        "", "The gate, after the models:", "",
        "| Salesforce records | checks | open findings | judging | target | publishing, remembering | importing Great Expectations |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for r in results:
        bound = "≤ 3 s" if r["records"] == 1_000_000 else ""
        seconds = f"**{r['judge_seconds']:.1f} s** | {bound} | {r['close_seconds']:.1f} s | {r['import_seconds']:.1f} s"
        lines.append(f"| {r['records']:,}{', dense' if r['is_dense'] else ''} | {r['checks']} | {r['findings']:,} | {seconds} |")
    largest = max(results, key=lambda r: int(r["records"]))
    lines += ["", f"The slowest tables at {largest['records']:,} records:", "", "| table | rows | seconds |", "|---|---:|---:|"]
    for table in sorted(largest["tables"], key=lambda table: -table["seconds"])[:10]:
        lines.append(f"| {table['table']} | {table['rows']:,} | {table['seconds']:.2f} |")
    lines += ["", "![Seconds by size, against n log n](images/benchmark-models.svg)"]
    return "\n".join(lines)


def plot(results: list[dict[str, Any]]) -> str:
    """Seconds over records, both on a logarithmic scale, with the floor and a line of n log n through the first measurement."""
    from math import log10

    width, height, left, bottom = 640, 360, 70, 50
    sizes = [r["records"] for r in results]
    reference = [results[0]["seconds"] * (n * log10(n)) / (sizes[0] * log10(sizes[0])) for n in sizes]
    series = [("models and checks", "#b3261e", [r["seconds"] for r in results]), ("floor", "#1f6feb", [r["floor_seconds"] for r in results]),
              ("n log n", "#999999", reference)]  # fmt: skip
    values = [value for _, _, line in series for value in line]
    low_x, high_x = log10(min(sizes)) - 0.1, log10(max(sizes)) + 0.1
    low_y, high_y = log10(min(values)) - 0.1, log10(max(values)) + 0.1

    def place(size: float, seconds: float) -> tuple[float, float]:
        x = left + (log10(size) - low_x) / (high_x - low_x) * (width - left - 20)
        return x, height - bottom - (log10(seconds) - low_y) / (high_y - low_y) * (height - bottom - 30)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for size in sizes:
        x, _ = place(size, values[0])
        parts.append(f'<line x1="{x:.0f}" y1="30" x2="{x:.0f}" y2="{height - bottom}" stroke="#eeeeee"/>')
        parts.append(f'<text x="{x:.0f}" y="{height - bottom + 18}" text-anchor="middle">{size:,}</text>')
    for power in range(-3, 5):
        for seconds in (10.0**power, 3 * 10.0**power):
            if low_y <= log10(seconds) <= high_y:
                _, y = place(sizes[0], seconds)
                parts.append(f'<line x1="{left}" y1="{y:.0f}" x2="{width - 20}" y2="{y:.0f}" stroke="#eeeeee"/>')
                parts.append(f'<text x="{left - 8}" y="{y + 4:.0f}" text-anchor="end">{seconds:g} s</text>')
    for number, (name, colour, line) in enumerate(series):
        points = " ".join("{:.1f},{:.1f}".format(*place(size, seconds)) for size, seconds in zip(sizes, line, strict=True))
        dash = ' stroke-dasharray="5 4"' if name == "n log n" else ""
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        parts.append(f'<text x="{left + 10}" y="{45 + 16 * number}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{(width + left) / 2:.0f}" y="{height - 10}" text-anchor="middle">Salesforce records (and half as many contacts)</text></svg>')
    return "\n".join(parts)
