// A client at its defaults: CALLERS loops call until standard input ends; prints the number of each status.
// PER_CALL: each call by a connection of its own; PING_SECONDS: of keep-alive; PAUSE_SECONDS: between calls.
const fs = require("fs");
const grpc = require("@grpc/grpc-js");

const [target, path, encoded] = process.argv.slice(2);
const { CA_FILE, SERVER_NAME, CALLERS, CALL_SECONDS, PER_CALL, PING_SECONDS, PAUSE_SECONDS } = process.env;
const request = Buffer.from(encoded, "base64");
const security = CA_FILE ? grpc.credentials.createSsl(fs.readFileSync(CA_FILE)) : grpc.credentials.createInsecure();
const options = CA_FILE ? { "grpc.ssl_target_name_override": SERVER_NAME } : {};
if (PER_CALL) options["grpc.use_local_subchannel_pool"] = 1;
if (PING_SECONDS) {
  options["grpc.keepalive_time_ms"] = PING_SECONDS * 1000;
  options["grpc.keepalive_permit_without_calls"] = 1;
}
const connect = () => new grpc.Client(target, security, options);
const shared = connect();
const names = Object.fromEntries(Object.entries(grpc.status).map(([name, code]) => [code, name]));
const counts = {};
let ended = false;
const same = (bytes) => bytes;

function call() {
  return new Promise((done) => {
    const deadline = new Date(Date.now() + CALL_SECONDS * 1000);
    const client = PER_CALL ? connect() : shared;
    client.makeUnaryRequest(path, same, same, request, new grpc.Metadata(), { deadline }, (error) => {
      if (error) console.error(error.message);
      if (PER_CALL) client.close();
      done(names[error ? error.code : 0]);
    });
  });
}

async function caller() {
  while (!ended) {
    const status = await call();
    counts[status] = (counts[status] || 0) + 1;
    if (status === "OK" && counts.OK === 1) console.log("calling");
    if (PAUSE_SECONDS) await new Promise((done) => setTimeout(done, PAUSE_SECONDS * 1000));
  }
}

process.stdin.on("end", () => (ended = true)).resume();
Promise.all(Array.from({ length: CALLERS }, caller)).then(() => {
  console.log(JSON.stringify(counts));
  shared.close();
});
