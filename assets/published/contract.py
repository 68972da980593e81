"""What is published: the tables that stewards and other tools read, in the order of the contract. More may follow."""

# name: the table of the warehouse that it is taken from
TABLES = {
    "salesforce_person": "core.salesforce_person",
    "hubspot_contact": "core.hubspot_contact",
    "duplicate_cluster": "core.duplicate_cluster",
    "cluster_member": "core.cluster_member",
    "binding": "core.binding",
    "link": "core.link",
    "switch_event": "core.switch_event",
    "rival": "core.rival",
    "overwrite": "core.overwrite",
    "first_binding_value": "core.first_binding_value",
    "overwritten_value": "core.overwritten_value",
    "value_source": "core.value_source",
    "salesforce_user": "core.salesforce_user",
    "hubspot_owner": "core.hubspot_owner",
    "typed_value": "core.typed_value",
    "merge_event": "core.merge_event",
    "merge_advice": "core.merge_advice",
    "restorable_value": "core.restorable_value",
    "backfilled_value": "core.backfilled_value",
    "restorable_contact": "core.restorable_contact",
    "departure": "core.departure",
    "planned_merge": "core.planned_merge",
    "policy_variant": "core.policy_variant",
    "policy_prediction": "core.policy_prediction",
    "prediction_score": "core.prediction_score",
    "portal_setting": "core.portal_setting",
    "finding": "review.finding",
    "person_case": "review.person_case",
    "finding_event": "review.finding_event",
    "planned_merge_event": "review.planned_merge_event",
    "contact_detail": "review.contact_detail",
    "record_detail": "review.record_detail",
    "edit": "review.edit",
    # what the run was told, for whoever explains its findings
    "policy": "main.policy",
    "field_mapping": "main.field_mapping",
    "salesforce_field": "raw.salesforce_field",
    "mapped_field": "core.mapped_field",
    "mapped_property": "core.mapped_property",
    "check_policy": "main.check_policy",
}
# What of a table is published, as SQL: all but the number of a pull, which only its own warehouse knows.
COLUMNS = "columns(lambda name: name <> 'pull_no')"
# Whoever looks something up in these reads a part of the file: rows of one key stand together, in groups so small that most are passed over.
ORDER = {
    "salesforce_person": "record_id",
    "hubspot_contact": "contact_id",
    "binding": "hubspot_contact_id",
    "link": "record_id, hubspot_contact_id",
    "contact_detail": "contact_id",
    "record_detail": "record_id",
}
# The wide ones in smaller groups: so many rows are read at once, by whoever looks a few up or has little memory.
ROWS_OF_A_GROUP = {**dict.fromkeys(ORDER, 20_480), "contact_detail": 2048, "record_detail": 2048, "finding": 16_384, "person_case": 16_384}
