"""What `bindwatch connect` says of a portal with hidden settings, held against the truth: python -m tests.discovered large sparse --seed 1 --seed 2."""

import argparse
import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from pipelines.connect import connect
from sandbox.grown import Truth, open_portal
from tests.live import served, some_days_ago

KINDS = ("large", "sparse", "lying", "middleware", "unbound")
UNSAID = ("salesforceownerid", "hs_email_optout", "email", "salesforceaccountid")  # their rules are nobody's to set


@dataclass
class Held:
    """An answer beside the truth. wrong: certain answers that are not true, in words; missed: mapped, five pairs tell, and not named."""

    answer: dict[str, Any]
    truth: Truth
    code: int
    calls: dict[str, int]
    seconds: float
    wrong: list[str] = field(default_factory=list)
    not_mapped: list[str] = field(default_factory=list)
    other_field: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    consent: list[str] = field(default_factory=list)
    rules: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        mapped = {one.hubspot: one for one in self.truth.mappings}
        entries = {entry["hubspot"]: entry for entry in self.answer["mapping"]}
        for name, entry in entries.items():
            known = mapped.get(name)
            if known is None:
                self.not_mapped.append(name)
                self.wrong += [f"{name} is not mapped"] if entry["certain"] else []
                continue
            for said, true in ((entry["lead"], known.lead), (entry["contact"], known.contact)):
                if said is not None and said != true:
                    self.other_field.append(f"{name}: {said}, not {true}")
                    self.wrong += [f"{name}: {said}, not {true}"] if entry["certain"] else []
            if bool(entry["consent"]) != bool(known.consent):
                self.consent.append(f"{name}: {entry['consent']}, not {known.consent}")
            if name not in UNSAID:
                self.rules["right" if entry["rule"] == known.rule else "none" if entry["rule"] is None else "wrong"] += 1
                if entry["rule"] not in (None, known.rule):
                    self.wrong.append(f"{name}: rule {entry['rule']}, not {known.rule}")
        self.missed = [name for name, one in mapped.items() if one.pairs >= 5 and name not in entries]
        for name, knob in self.answer["knobs"].items():
            true = self.truth.knobs[name]
            if knob["certain"] and knob["value"] != true:
                self.wrong.append(f"{name}: {knob['value']}, not {true}")

    @property
    def precision(self) -> float:
        entries = len(self.answer["mapping"])
        return 1 - len({*self.not_mapped, *(one.split(":")[0] for one in self.other_field)}) / entries if entries else 1.0

    @property
    def recall(self) -> float:
        told = sum(one.pairs >= 5 for one in self.truth.mappings)
        return 1 - len(self.missed) / told if told else 1.0


def look(kind: str, seed: int, **changes: Any) -> Held:
    """Builds the portal, serves it, and asks. Without a policy file."""
    story = open_portal(kind, seed, some_days_ago(1), **changes)
    lines: list[str] = []
    with TemporaryDirectory() as folder, served(story, Path(folder) / "crm") as server:
        server.faults.on_request = lines.append
        home = {"BINDWATCH_HOME": folder, "BINDWATCH_CONFIG": f"{folder}/bindwatch.toml"}
        with patch.dict(os.environ, {**server.environment, **home}):
            for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
                os.environ.pop(name, None)
            began = time.monotonic()
            code = connect([], 1000, Path(folder) / "answer.json", write=False)
            seconds = time.monotonic() - began
        answer = json.loads((Path(folder) / "answer.json").read_text("utf-8"))
    calls = Counter("salesforce" if "/services/" in line else "hubspot" for line in lines if "/oauth2/" not in line)
    return Held(answer, story.truth(), code, dict(calls), seconds)


def _print(kind: str, seed: int, held: Held) -> None:
    answer = held.answer
    print(
        f"== {kind} {seed}: {answer['integration']['kind']}, exit {held.code}, {held.seconds:.0f} s, calls {held.calls}; mapping {len(answer['mapping'])} of "
        f"{len(held.truth.mappings)}, precision {held.precision:.3f}, recall {held.recall:.3f}, certain {sum(one['certain'] for one in answer['mapping'])}; "
        f"rules {dict(held.rules)}; wrong {len(held.wrong)}"
    )
    for title in ("wrong", "not_mapped", "other_field", "missed", "consent"):
        if found := getattr(held, title):
            print(f"   {title}: {'; '.join(found)}")
    unsure = [f"{one['hubspot']} ({one['equal']}/{one['pairs']})" for one in answer["mapping"] if not one["certain"]]
    print(f"   not certain: {', '.join(unsure)}")
    no_rule = [f"{one['hubspot']} ({one['cases_for']}/{one['cases_against']})" for one in answer["mapping"] if one["rule"] is None]
    print(f"   no rule: {', '.join(no_rule)}")
    for name, knob in answer["knobs"].items():
        sure = "certain" if knob["certain"] else "      -"
        more = f" candidates {knob['candidates']}" if "candidates" in knob else ""
        print(f"   {sure} {name}: {knob['value']} ({knob['cases_for']}/{knob['cases_against']}), is {held.truth.knobs[name]}{more}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=KINDS)
    parser.add_argument("--seed", type=int, action="append")
    asked = parser.parse_args()
    for kind in asked.kinds:
        for seed in asked.seed or [1, 2]:
            _print(kind, seed, look(kind, seed))
