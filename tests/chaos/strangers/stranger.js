// A client at its defaults: CALLERS loops call until standard input ends; prints the number of each status.
const fs = require("fs");
const grpc = require("@grpc/grpc-js");

const [target, path, encoded] = process.argv.slice(2);
const { CA_FILE, SERVER_NAME, CALLERS, CALL_SECONDS } = process.env;
const request = Buffer.from(encoded, "base64");
const security = CA_FILE ? grpc.credentials.createSsl(fs.readFileSync(CA_FILE)) : grpc.credentials.createInsecure();
const options = CA_FILE ? { "grpc.ssl_target_name_override": SERVER_NAME } : {};
const client = new grpc.Client(target, security, options);
const names = Object.fromEntries(Object.entries(grpc.status).map(([name, code]) => [code, name]));
const counts = {};
let ended = false;
const same = (bytes) => bytes;

function call() {
  return new Promise((done) => {
    const deadline = new Date(Date.now() + CALL_SECONDS * 1000);
    client.makeUnaryRequest(path, same, same, request, new grpc.Metadata(), { deadline }, (error) => {
      if (error) console.error(error.message);
      done(names[error ? error.code : 0]);
    });
  });
}

async function caller() {
  while (!ended) {
    const status = await call();
    counts[status] = (counts[status] || 0) + 1;
    if (status === "OK" && counts.OK === 1) console.log("calling");
  }
}

process.stdin.on("end", () => (ended = true)).resume();
Promise.all(Array.from({ length: CALLERS }, caller)).then(() => {
  console.log(JSON.stringify(counts));
  client.close();
});
