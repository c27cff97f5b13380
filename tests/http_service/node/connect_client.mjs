// A client that Connect's tools generated calls every method, by JSON and by protobuf:
// node connect_client.mjs URL GENERATED
import { pathToFileURL } from "node:url";

import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";

const { SidecarService } = await import(pathToFileURL(process.argv[3]));
const customer = { customerId: "customer-demo" };
const requests = {
  getBooleanEntitlement: { ...customer, featureId: "feature-sso" },
  getNumericEntitlement: { ...customer, featureId: "feature-templates" },
  getMeteredEntitlement: { ...customer, featureId: "feature-api-calls", options: { requestedUsage: 5 } },
  getEnumEntitlement: { ...customer, featureId: "feature-regions" },
  getEntitlement: { ...customer, featureId: "feature-sso" },
  getEntitlements: customer,
  getEntitlementV2: { ...customer, currencyId: "cred-ai" },
  getEntitlementsStateV2: customer,
  reloadEntitlements: customer,
  reportUsage: { ...customer, featureId: "feature-api-calls", value: 1 },
  reportUsageBulk: { usages: [{ ...customer, featureId: "feature-api-calls", value: 1 }] },
  reportEvents: { events: [{ ...customer, eventName: "e", idempotencyKey: "k" }] },
};

const told = {};
for (const useBinaryFormat of [false, true]) {
  const transport = createConnectTransport({ baseUrl: process.argv[2], httpVersion: "1.1", useBinaryFormat });
  const client = createClient(SidecarService, transport);
  const answers = {};
  for (const [method, request] of Object.entries(requests)) {
    const { $typeName, $unknown, ...fields } = await client[method](request);
    answers[method] = Object.keys(fields).sort();
  }
  answers.granted = (await client.getBooleanEntitlement(requests.getBooleanEntitlement)).hasAccess;
  answers.used = (await client.getMeteredEntitlement(requests.getMeteredEntitlement)).hasAccess;
  answers.refused = await client.reportUsage({ ...customer, value: 1 }).then(
    () => "taken",
    (error) => (error instanceof ConnectError ? Code[error.code] : String(error)),
  );
  told[useBinaryFormat ? "proto" : "json"] = answers;
}
console.log(JSON.stringify(told));
