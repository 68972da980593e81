// Reads a portal with @hubspot/api-client and prints what it found as JSON: node read_hubspot.mjs <base url> <token> <contact id> <old id>
import { Client } from "@hubspot/api-client";

const [basePath, accessToken, contactId, mergedAwayId] = process.argv.slice(2);
const { contacts, properties, owners } = new Client({ accessToken, basePath }).crm;

const live = await contacts.getAll(100, undefined, ["email"]);
const archived = await contacts.getAll(100, undefined, ["email"], undefined, undefined, true);
const withHistory = await contacts.basicApi.getPage(50, undefined, ["email"], ["salesforceleadid"]);
const found = await contacts.searchApi.doSearch({
  filterGroups: [{ filters: [{ propertyName: "hs_object_id", operator: "GT", value: "0" }] }],
  sorts: ["hs_object_id"], properties: ["email"], limit: 200, after: "0", query: undefined,
});
const batch = await contacts.batchApi.read({
  inputs: [{ id: contactId }, { id: mergedAwayId }, { id: "1" }], properties: ["hs_merged_object_ids"], propertiesWithHistory: ["email"],
});
const merged = await contacts.basicApi.getById(mergedAwayId);
const missing = await contacts.basicApi.getById("1").catch((error) => error.code);

console.log(JSON.stringify({
  live: Object.fromEntries(live.map((contact) => [contact.id, contact.properties.email])),
  archived: archived.map((contact) => contact.id),
  history: Object.fromEntries(withHistory.results.map((contact) => [contact.id, contact.propertiesWithHistory.salesforceleadid.map((entry) => entry.value)])),
  found: found.results.map((contact) => contact.id), total: found.total,
  batch: batch.results.map((contact) => contact.id), missingInBatch: batch.numErrors ?? 0,
  merged: merged.id, missing,
  properties: (await properties.coreApi.getAll("contacts")).results.map((property) => property.name),
  owners: (await owners.ownersApi.getPage()).results.length,
}));
