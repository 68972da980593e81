// Reads an org with jsforce and prints what it found as JSON: node read_salesforce.mjs <instance url> <token> <start> <end>
import jsforce from "jsforce";

const [instanceUrl, accessToken, start, end] = process.argv.slice(2);
const connection = new jsforce.Connection({ instanceUrl, accessToken, version: "64.0" });

async function read(records) {
  const found = [];
  for await (const record of records) found.push(record);
  return found;
}

const live = await connection.query("SELECT Id, Email FROM Lead", { autoFetch: true, maxFetch: 1e6 });
const all = await connection.query("SELECT Id FROM Lead ORDER BY SystemModstamp, Id", { autoFetch: true, maxFetch: 1e6, scanAll: true });
const bulk = await connection.bulk2.query("SELECT Id, IsDeleted, SystemModstamp FROM Contact", { scanAll: true });
const description = await connection.sobject("Contact").describe();
const deleted = await connection.sobject("Lead").deleted(start, end);
const identityOfRefusal = await connection.query("SELECT Nope FROM Lead").catch((error) => error.errorCode ?? error.name);

console.log(JSON.stringify({
  live: Object.fromEntries(live.records.map((record) => [record.Id, record.Email])),
  all: all.records.map((record) => record.Id),
  bulk: Object.fromEntries((await read(bulk)).map((record) => [record.Id, record.IsDeleted])),
  fields: description.fields.map((field) => field.name),
  deleted: deleted.deletedRecords.map((record) => record.id),
  refusal: identityOfRefusal,
}));
