// What OpenFeature's server SDK makes of each type: node ofrep_server.mjs URL
import { OFREPProvider } from "@openfeature/ofrep-provider";
import { OpenFeature } from "@openfeature/server-sdk";

await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl: process.argv[2] }));
const client = OpenFeature.getClient();
const customer = { targetingKey: "customer-demo" };
const asked = {
  sso: await client.getBooleanDetails("feature-sso", false, customer),
  denied: await client.getBooleanDetails("feature-audit-log", true, customer),
  templates: await client.getNumberDetails("feature-templates", 0, customer),
  regions: await client.getObjectDetails("feature-regions", {}, customer),
  calls: await client.getBooleanDetails("feature-api-calls", false, customer),
  limit: await client.getNumberDetails("feature-api-calls:limit", 0, customer),
  unknown: await client.getBooleanDetails("feature-none", true, customer),
};
const told = Object.entries(asked).map(([name, details]) => [name, details.errorCode ?? details.value]);
console.log(JSON.stringify(Object.fromEntries(told)));
