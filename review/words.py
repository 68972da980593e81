"""Words of the desk that stand in no template: names of states, answers to forms, what went wrong. In English; locale/ has German."""


def N_(text: str) -> str:
    """Marks a text for translation where it is not translated yet."""
    return text


def P_(singular: str, plural: str) -> tuple[str, str]:
    """The same for a text with a number in it."""
    return singular, plural


VERDICT = {"pass": N_("Safe"), "fail": N_("Unsafe"), "unproven": N_("Not proven")}
VERDICT_MEANS = {
    "pass": N_("All blocking checks hold."),
    "fail": N_("Blocking checks are violated: contacts may be overwritten, cut off or deleted."),
    "unproven": N_("The last run could not be completed or proven. It says nothing about whether your contacts are safe."),
}
OPEN_IN_RUN = N_("{number} open")
SEVERITY = {"block": N_("blocks"), "warn": N_("warns"), "unproven": N_("unproven")}
STATUS = {"open": N_("open"), "acknowledged": N_("acknowledged"), "waived": N_("waived"), "resolved": N_("resolved")}
URGENCY = {"now": N_("now"), "soon": N_("soon"), "later": N_("later")}
HARM = {
    "deleted": N_("a contact is deleted"), "mixed_people": N_("two people become one"), "cut_off": N_("a contact is cut off"),
    "consent": N_("consent changes"), "overwritten": N_("values are lost"), "spread": N_("values spread to another record"),
    "drift": N_("CRM and policy drift apart"), "none": N_("nothing is lost"),
}  # fmt: skip
BASIS = {"documented": N_("documented"), "observed": N_("observed"), "inferred": N_("inferred")}
CONFIDENCE = {"high": N_("high"), "medium": N_("medium"), "low": N_("low")}
CHANGE = {
    "new": N_("new"), "reopened": N_("reopened"), "worsened": N_("got worse"), "changed": N_("other facts"), "resolved": N_("resolved"),
    "replaced": N_("other facts"),
}  # fmt: skip
OBJECT = {"contact": N_("HubSpot contact"), "Lead": N_("Lead"), "Contact": N_("Salesforce Contact"), "none": N_("the run as a whole")}
PERSON_STATE = {
    "live": N_("live"), "converted": N_("converted"), "merged": N_("merged away"), "deleted": N_("deleted"), "vanished": N_("vanished"),
    "archived": N_("archived"), "unknown": N_("unknown"), "none": N_("none"),
}  # fmt: skip
ROLE = {"bound": N_("bound"), "rival": N_("rival"), "other": N_("candidate")}
MAPPING_RULE = {
    "prefer_salesforce": N_("prefer Salesforce unless blank"), "always_salesforce": N_("always use Salesforce"), "two_way": N_("two-way"),
    "none": N_("do not sync"),
}  # fmt: skip
MAPPING_RULE_NUMBER = {"always_salesforce": 24, "prefer_salesforce": 25, "two_way": 26, "none": 27}
SETTING = {
    "first_sync": N_("Which of several records a first sync takes"), "follow_up": N_("Whether the binding follows the record updated last"),
    "recency": N_("Which stamp counts as updated last"), "integration_user_id": N_("Salesforce user that the integration writes as"),
    "create_object": N_("What it creates for a contact without a match"), "on_lead_deleted": N_("The contact, when its Lead is deleted"),
    "on_contact_deleted": N_("The contact, when its Salesforce Contact is deleted"), "secondary_email_matches": N_("Whether additional e-mails match"),
    "blank_on_switch": N_("A value in HubSpot, when the new record has none"), "opt_out": N_("Whether an opt-out stays for good"),
    "inclusion_list_id": N_("Inclusion list"),
}  # fmt: skip
EFFECT = {
    "overwrite": N_("this value would win"),
    "clear": N_("HubSpot's value would be cleared"),
    "backfill": N_("HubSpot's value would be written here"),
    "fill": N_("would fill HubSpot's gap"),
}
PREDICTION = {
    "keep": N_("The contact stays bound to {record}."),
    "switch": N_("The binding jumps to {record}."),
    "bind": N_("The contact is bound to {record}."),
    "create_lead": N_("A new Lead is created in Salesforce."),
    "create_contact": N_("A new Contact is created in Salesforce."),
    "none": N_("The contact is not bound."),
    "ambiguous": N_("It is bound to one of several records; nobody can say which."),
}
# Who wrote a value, by HubSpot's word for it; what is not here is shown as HubSpot says it.
WRITTEN_BY = {
    "CRM_UI": N_("a person in HubSpot"), "CRM_UI_BULK_ACTION": N_("a person in HubSpot, many at once"), "CONTACTS": N_("a person in HubSpot"),
    "MOBILE_IOS": N_("a person in HubSpot"), "MOBILE_ANDROID": N_("a person in HubSpot"), "SIDEKICK": N_("a person in HubSpot"), "FORM": N_("a form"),
    "CONVERSATIONS": N_("a conversation"), "MEETINGS": N_("a meeting"), "IMPORT": N_("an import into HubSpot"), "SALESFORCE": N_("the sync from Salesforce"),
    "AUTOMATION_PLATFORM": N_("a workflow"), "WORKFLOWS": N_("a workflow"), "INTEGRATION": N_("another integration"), "API": N_("another integration"),
    "MERGE_CONTACTS": N_("a merge of contacts in HubSpot"),
}  # fmt: skip
SOURCE = {"salesforce": N_("Salesforce"), "hubspot": N_("HubSpot")}
PULLED = {
    "Lead": N_("Leads"), "Contact": N_("Contacts"), "contact": N_("contacts"), "contact_archived": N_("archived contacts"),
    "contact_archived_changed": N_("archived contacts that changed"), "contact_restored": N_("restored contacts"),
    "contact_history": N_("property history"), "inclusion_list": N_("inclusion list"),
    "Lead_ids": N_("ids of Leads"), "Contact_ids": N_("ids of Contacts"), "contact_ids": N_("ids of contacts"),
    "Lead_missed": N_("Leads missed before"), "Contact_missed": N_("Contacts missed before"), "contact_missed": N_("contacts missed before"),
    "switch_history": N_("property and sync history after a switch"), "User": N_("users"), "LeadHistory": N_("field history of Leads"),
    "ContactHistory": N_("field history of Contacts"), "owner": N_("owners"), "owner_archived": N_("owners who have left"),
}  # fmt: skip

PLAN_VERDICT = {"safe": N_("safe"), "unsafe": N_("unsafe"), "invalid": N_("invalid"), "unknown": N_("unknown"), "done": N_("done")}
PLAN_RESULT = {
    "as_planned": N_("as planned"), "pending": N_("not settled yet"), "moved": N_("bound elsewhere"), "sync_broken": N_("sync broken"),
    "contact_deleted": N_("contact deleted"), "values_lost": N_("values lost"),
}  # fmt: skip
MORE_CHARACTERS = P_("… {number} more character", "… {number} more characters")

PLAN_KEPT = N_("Kept as {name}: every run judges it now.")
PLAN_NOT_KEPT = N_("The plan could not be kept: its folder cannot be written to.")
ANSWER_GONE = N_("That answer is no longer here: it is kept for eight hours at most. Hand the file in again.")

# What an edit of a record would do (assets/published/what_if.sql), the worst first.
OUTCOME = {
    "switch": N_("jumps"), "may_switch": N_("may jump"), "binds": N_("is bound anew"), "gone": N_("record is gone"), "unknown": N_("unknown"),
    "invalid": N_("invalid"), "stays": N_("stays"), "nobody": N_("nobody"),
}  # fmt: skip
CONTACTS_OF_A_LIST = N_("The records of people in a list of cases")
UNREADABLE_LIST = N_("This list cannot be read:")
LIST_WITHOUT_IDS = N_("The list holds no Salesforce id. It needs one id a line, with 15 or 18 characters.")
IDS_OF_HUBSPOT = N_("{id} is a record id of HubSpot's.")

NO_PLAN = N_("No file was chosen.")
UNREADABLE_PLAN = N_("This is no merge plan:")

EVENT = {
    "binding_first_binding": N_("bound for the first time to {other}"),
    "binding_duplicate_switch": N_("binding jumped from {record} to {other}"),
    "binding_unexplained": N_("binding changed from {record} to {other}, nobody knows why"),
    "binding_lead_conversion": N_("binding followed the conversion of {record} into {other}"),
    "binding_salesforce_merge": N_("binding followed the merge of {record} into {other}"),
    "binding_cleared": N_("binding to {record} was cleared"),
    "binding_hubspot_merge": N_("binding changed from {record} to {other} as contacts were merged in HubSpot"),
    "binding_by_hand": N_("somebody else than the integration changed the binding from {record} to {other}"),
    "edit": N_("{name} was changed"),
    "salesforce_merge": N_("{record} was merged into {other}"),
    "created": N_("{subject} was created"),
    "deleted": N_("{record} was deleted"),
    "archived": N_("the contact was archived in HubSpot"),
    "finding_new": N_("a run found this"),
    "finding_reopened": N_("a run found this again"),
    "finding_worsened": N_("a run found that it got worse"),
    "finding_changed": N_("a run found other facts"),
    "finding_resolved": N_("a run found it resolved"),
    "finding_replaced": N_("a run found other facts; a new finding took over"),
    "finding_waiver_lapsed": N_("the waiver ended"),
    "finding_acknowledge": N_("acknowledged"),
    "finding_assign": N_("assigned"),
    "finding_waive": N_("waived"),
    "finding_accept": N_("accepted"),
    "finding_undo": N_("the last decision was taken back"),
}

DONE = {
    "acknowledge": P_("{number} finding acknowledged.", "{number} findings acknowledged."),
    "assign": P_("{number} finding assigned to {owner}.", "{number} findings assigned to {owner}."),
    "waive": P_("{number} finding waived until the end of {until}.", "{number} findings waived until the end of {until}."),
    "accept": P_("{number} finding accepted: what is there now is right.", "{number} findings accepted: what is there now is right."),
    "undo": P_("The last decision about {number} finding was taken back.", "The last decisions about {number} findings were taken back."),
}
UNASSIGNED = P_("{number} finding assigned to nobody.", "{number} findings assigned to nobody.")
REFUSED = {
    "nothing_decided": P_(
        "About {number} finding nothing was decided that could be taken back.", "About {number} findings nothing was decided that could be taken back."
    ),
    "resolved": P_("{number} finding is resolved already: there is nothing to decide.", "{number} findings are resolved already: there is nothing to decide."),
    "unproven": P_(
        "{number} finding cannot be waived: with it the run proves nothing, and would look green.",
        "{number} findings cannot be waived: with them the run proves nothing, and would look green.",
    ),
}
REFUSED |= {
    "not_acceptable": P_(
        "{number} finding cannot be accepted: it is about what is so now. Mend it, or waive it for a while.",
        "{number} findings cannot be accepted: they are about what is so now. Mend them, or waive them for a while.",
    ),
    "no_such_property": P_("{number} finding has no open value of these fields.", "{number} findings have no open value of these fields."),
}
VALUE_SOURCE = {"typed": N_("typed: it made the contact jump"), "foreign": N_("another record's value"), "unclear": N_("nobody can say whether it was typed")}
RESOLVED_BY = {"repaired": N_("repaired"), "accepted": N_("accepted"), "gone": N_("nothing is left of it")}
SAY_WHY_ACCEPTED = N_("Nothing was decided: to accept something needs a reason that somebody understands in a year.")
DECIDED = {
    "acknowledge": N_("{who} acknowledged it."), "assign": N_("{who} assigned it to {owner}."), "waive": N_("{who} waived it until the end of {until}:"),
    "accept": N_("{who} accepted what is there:"), "undo": N_("{who} took the last decision back."),
}  # fmt: skip
DECIDED_UNASSIGNED = N_("{who} assigned it to nobody.")
OTHERS_DECIDED = P_(
    "About {number} finding somebody else decided while you looked. Your decision about it is not recorded. Read what was decided; to decide all the "
    "same, press the button again.",
    "About {number} findings others decided while you looked. Your decision about them is not recorded. Read what was decided; to decide all the "
    "same, press the button again.",
)
STORE_AWAY = N_("Nothing was decided: the decisions store does not answer. What you typed still stands here. Press the button again in a moment.")
SAY_WHO_YOU_ARE = N_("Nothing was decided: say who you are.")
NOT_YOURS_TO_WAIVE = N_("Nothing was decided: who may waive or accept is limited to a group that you are not in. You may acknowledge and assign.")
SAY_TO_WHOM = N_("Nothing was decided: say who takes care of it.")
SAY_WHY = N_("Nothing was decided: a waiver needs a reason that somebody understands in a year.")
SAY_UNTIL_WHEN = N_("Nothing was decided: a waiver needs its last day, and one that is not over.")
NOTHING_TO_DO = N_("Nothing was decided: the form named no action.")
NOTHING_TICKED = N_("Nothing was decided: no finding is ticked.")
TOO_MANY_AT_ONCE = N_("Nothing was decided: more than {number} findings match. Narrow the list first.")
NO_FINDING_WITH_EMAIL = N_("No finding is about that e-mail address.")
WRONG_TOKEN = N_("That is not the token.")
TWO_NAMES = N_(
    "The proxy names more than one person, or one in two ways. It must set its header itself, once, and drop what browsers send under that name; "
    "a name holds no comma."
)

ERRORS = {
    400: (N_("This cannot be answered"), N_("The address names something that does not exist, such as a check or a status. Start from the worklist.")),
    401: (N_("Not for you yet"), N_("The desk does not know who you are. Come in through the proxy that you log in at, or with the token.")),
    403: (
        N_("The form was refused"),
        N_("It did not come from a page that this desk made for you, or that page is too old. Go back, load the page again, and repeat."),
    ),
    404: (N_("Nothing here"), N_("There is no such page, or no such finding in the last snapshot.")),
    405: (N_("This cannot be answered"), N_("The address is not meant to be used in this way.")),
    413: (N_("Too much"), N_("The form holds more than the desk takes: 512 kB, or 32 MB with a merge plan.")),
    421: (N_("Wrong name"), N_("The desk was called by a name that it does not know. Set links.desk_url in bindwatch.toml to the address that people use.")),
    429: (N_("Too many at once"), N_("Too many people give the token at once, or somebody guesses it. Try again in a few seconds.")),
    500: (N_("A fault of the desk"), N_("This is a bug in Bindwatch. Nothing was decided. The log says what happened.")),
    503: (N_("Nothing to show"), N_("There is no snapshot, or a file would lack what people decided. The reason stands below.")),
}

# Why a case stands where it stands: of its first deadline, while it is to come. The checks that one of them is about stand in PLACE_OF.
PLACE = {
    "unproven": N_("first of all: with it the run proves nothing"),
    "jump": N_("jumps in about {time}"),
    "jump_any_moment": N_("may jump at any moment"),
    "undelete": N_("can be undeleted in Salesforce until {day}"),
    "restore": N_("can be restored in HubSpot until {day}"),
    "deadline": N_("something can be done until {day}"),
    "now": N_("do it now"),
    "soon": N_("soon"),
    "later": N_("no deadline"),
    "waived": N_("waived"),
}
PLACE_OF = {
    "switch_imminent": "jump", "unsafe_duplicate": "jump", "switchable_duplicate": "jump", "consent_at_risk": "jump", "opt_out_imminent": "jump",
    "shared_mailbox": "jump", "bound_record_deleted": "undelete", "bound_record_merged_away": "undelete", "mass_change": "undelete",
    "contact_deleted_by_sync": "restore",
}  # fmt: skip
FACET = {
    "urgency": N_("Urgency"), "harm": N_("Harm"), "check": N_("Check"), "account": N_("Account"), "salesforce_owner": N_("Salesforce owner"),
    "hubspot_owner": N_("HubSpot owner"),
    "caused_by": N_("Caused by"), "owner": N_("Who takes care"), "status": N_("Status"), "age": N_("Open for"), "new": N_("New or worse"),
}  # fmt: skip
AGE = {"day": N_("less than a day"), "week": N_("less than a week"), "month": N_("less than a month"), "older": N_("longer")}
VIEW_KEPT = N_("The view {name} is kept for everybody.")
VIEW_GONE = N_("The view {name} was removed.")
NAME_THE_VIEW = N_("Give the view a name.")
NO_CASE_WITH_EMAIL = N_("Nothing is open about anybody with that e-mail address.")
UNTIL = N_("until")
CASE_SETTLED = N_("Nothing is open about this any more.")

BASKET_NEW_RUN = N_("A run came in between, and values may have changed: look again. Nothing was put in.")
BASKET_NO_OWNER = N_("That is the name of no active Salesforce user, or of several: give the id. Nothing was put in.")
BASKET_NOTHING = N_("Nothing was chosen: nothing was put in or taken out.")
BASKET_PUT = P_("{number} value is in your basket.", "{number} values are in your basket.")
BASKET_STEPS = N_("The steps of this case are in your basket.")
BASKET_KEPT = P_("{number} value is accepted as it is.", "{number} values are accepted as they are.")
BASKET_OUT = N_("Taken out of your basket.")
BASKET_CASES_PUT = P_("The proposal for {number} case is in your basket.", "The proposals for {number} cases are in your basket.")
BASKET_OTHER_CASES = N_("These are other cases by now: look again. Nothing was put in.")
BASKET_EMPTY = N_("Your basket is empty.")
BASKET_ONE_PERSON = N_("The merge makes both records one person: what spread between them may stay.")
KEPT_ON_THE_CASE = N_("What is there is right: it was kept, field by field.")
# What a file of a basket is for, by the beginning of its name (docs/desk.md).
BASKET_FILE = {
    "1": N_("Salesforce, update: values"),
    "2": N_("Salesforce, update, right after it: the bound record once more, so that it stays the newest"),
    "3": N_("HubSpot, import of contacts: values"),
    "4": N_("Salesforce, conversion tool: Leads into existing Contacts"),
    "5": N_("Salesforce, update, after the conversion: values of the Contact"),
    "6": N_("Salesforce, merge tool: merges"),
}
BASKET_REASON = {
    "no_case": N_("nothing about it is open any more"),
    "contact_gone": N_("the contact is gone in HubSpot: restore it first"),
    "changed_since": N_("the value was changed since you chose: look at the case again"),
    "of_account": N_("nobody can write it in the bound record, whose value would win again"),
    "read_only": N_("HubSpot lets nobody take an opt-out back"),
    "not_bound": N_("only Salesforce can be told the owner, and the contact is bound to no record"),
    "decision": N_("people must decide it: who is who, or which e-mail"),
    "waits": N_("waits for what people must decide"),
    "not_chosen": N_("a jump took values of which nothing was chosen"),
    "steps": N_("its steps are not in the basket, or wait for people"),
    "people": N_("neither steps nor values end it: people must"),
}
BASKET_WHAT = {
    "value": N_("value"), "merge": N_("merge"), "convert": N_("conversion"), "manual": N_("decision about who is who"),
    "change_email": N_("another e-mail address"), "case": N_("case"),
}  # fmt: skip
VALUE_STATUS = {
    "restore": N_("another record's value came with a jump"), "unclear": N_("nobody can say whether it was typed"),
    "typed": N_("typed: it made the contact jump"), "edited_later": N_("written again since"),
    "awaits_sync": N_("written into the bound record since: the next sync brings it"),
    "typed_over": N_("what was replaced had been typed, and came with a jump itself"), "brought": N_("what was replaced had come with a jump"),
    "of_account": N_("the bound record takes it from its account"), "read_only": N_("an opt-out: HubSpot lets nobody take it back"),
    "contact_gone": N_("the contact is gone: restore it first"),
}  # fmt: skip

ONLY_WAIVED = P_(
    "Nothing was decided: the finding is waived, and acknowledging would end that. Tick that the waiver ends, where you mean it.",
    "Nothing was decided: the {number} findings are waived, and acknowledging would end that. Tick that the waivers end, where you mean it.",
)
WAIVED_LEFT = P_("{number} finding that is waived was left as it is.", "{number} findings that are waived were left as they are.")
SURE = {
    "acknowledge": N_("Acknowledge all of them?"), "assign": N_("Assign all of them to {owner}?"), "waive": N_("Waive all of them until the end of {until}?"),
    "accept": N_("Accept all of them?"), "undo": N_("Take the last decision about all of them back?"),
}  # fmt: skip
SURE_UNASSIGNED = N_("Assign all of them to nobody?")
