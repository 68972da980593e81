"""A look at how the portal is set up, as every full run takes it: the discovery of `bindwatch connect`, on few contacts and with few calls."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime

from assets.connect.compare import Setting, setting_rows, tell
from assets.connect.discover import discover, sampled
from assets.connect.sample import describe_all
from assets.policy import Policy
from assets.problems import Problem, PullProblem, presentable
from assets.progress import told_to_end
from assets.pull.hubspot_portal import Portal
from assets.pull.salesforce_org import Org

log = logging.getLogger("bindwatch.pull")

CONTACTS, CALLS = 100, 20  # calls to each CRM


@dataclass
class Look:
    """What a look brought. taken_at: by the CRMs' clocks; kind: as in Discovery; contacts: so many were read; problem: why nothing was seen, in words, and
    source: whose answer is to blame (salesforce, hubspot).
    """

    taken_at: datetime
    kind: str = "unknown"
    contacts: int = 0
    settings: list[Setting] = field(default_factory=list)
    source: str = "hubspot"
    problem: str | None = None


def take_look(org: Org, portal: Portal, policy: Policy) -> Look:
    """Asks both CRMs. No proof depends on it: whatever goes wrong is told in the look, and the run goes on."""
    before = (org.calls, portal.calls)  # what was asked before does not count
    clocks = [one.theirs for one in (org.clock, portal.clock) if one is not None]
    look = Look(max(clocks, default=datetime.now(UTC)))
    try:
        with sampled(org, portal, describe_all(org), CONTACTS, CALLS, before) as sample:
            if sample.is_refused:
                raise PullProblem("Salesforce", f"it refuses what the sample asks for: {'; '.join(sample.not_seen)}.", "")
            found = discover(sample, look.taken_at)
        look.kind, look.contacts, look.settings = found.kind, found.contacts, setting_rows(tell(found), policy)
    except Exception as error:
        if told_to_end():
            raise
        look.problem = error.what if isinstance(error, PullProblem) else str(error) if isinstance(error, Problem) else presentable(error)
        look.source = error.source.lower() if isinstance(error, PullProblem) else look.source
        log.warning("whether the settings are still those of bindwatch.toml could not be seen: %s", look.problem)
    else:
        log.info("settings: %d contacts, %d calls to HubSpot, %d to Salesforce", look.contacts, portal.calls - before[1], org.calls - before[0])
    return look
