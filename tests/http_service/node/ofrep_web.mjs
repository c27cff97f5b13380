// OpenFeature's web SDK: evaluates all at once, says "ready", and prints again when the event stream had it
// evaluate anew: node ofrep_web.mjs URL
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";
import { EventSource } from "eventsource";

let opened;
const isOpen = new Promise((resolve) => (opened = resolve));
globalThis.EventSource = class extends EventSource {
  constructor(...given) {
    super(...given);
    this.addEventListener("open", opened);
  }
};

await OpenFeature.setContext({ targetingKey: "customer-demo" });
const changed = new Promise((resolve) => OpenFeature.addHandler(ProviderEvents.ConfigurationChanged, resolve));
await OpenFeature.setProviderAndWait(
  new OFREPWebProvider({ baseUrl: process.argv[2], pollInterval: 0, changeDetection: "sse" }),
);
const client = OpenFeature.getClient();
const told = () => ({
  sso: client.getBooleanValue("feature-sso", false),
  denied: client.getBooleanValue("feature-audit-log", true),
  templates: client.getNumberValue("feature-templates", 0),
  regions: client.getObjectValue("feature-regions", {}),
});
console.log(JSON.stringify(told()));
await isOpen;
console.log("watching");
await changed;
console.log(JSON.stringify(told()));
await OpenFeature.close();
process.exit(0);
