// Calls the test methods with grpc-js; prints what came back as one JSON object.
// Usage: node client.js HOST:PORT
const grpc = require("@grpc/grpc-js");

const bytes = { requestSerialize: (b) => b, requestDeserialize: (b) => b, responseSerialize: (b) => b, responseDeserialize: (b) => b };
const method = (name, streams) => ({ path: `/test.Service/${name}`, requestStream: streams, responseStream: streams, ...bytes });
const Client = grpc.makeGenericClientConstructor(
  { echo: method("Echo", false), fail: method("Fail", false), sleep: method("Sleep", false), metadata: method("Metadata", false), chat: method("Chat", true) },
  "test.Service",
);
const client = new Client(process.argv[2], grpc.credentials.createInsecure());
const call = (name, body, metadata = new grpc.Metadata(), options = {}) =>
  new Promise((done) => client[name](body, metadata, options, (error, answer) => done({ code: error ? error.code : 0, text: error ? error.details : String(answer), metadata: error ? error.metadata : null })));

(async () => {
  const found = {};
  found.echo = (await call("echo", Buffer.from("hello"))).text;
  found.large = (await call("echo", Buffer.alloc(1000000, "x"))).text.length;
  found.many = (await Promise.all([...Array(300).keys()].map((i) => call("echo", Buffer.from(String(i)))))).every((r, i) => r.text === String(i));
  const failed = await call("fail", Buffer.from('{"code": 9, "message": "100 % \\u263a", "reason": "R"}'));
  found.failed = [failed.code, failed.text, failed.metadata.get("grpc-status-details-bin")[0].length > 0];
  found.deadline = (await call("sleep", Buffer.alloc(0), new grpc.Metadata(), { deadline: Date.now() + 100 })).code;
  const metadata = new grpc.Metadata();
  metadata.set("x-raw-bin", Buffer.from([0, 255]));
  found.metadata = JSON.parse((await call("metadata", Buffer.alloc(0), metadata)).text).metadata.filter(([name]) => name.startsWith("x-"));
  found.chat = await new Promise((done) => {
    const stream = client.chat();
    const seen = [];
    stream.on("data", (answer) => {
      seen.push(String(answer));
      if (seen.length < 5) stream.write(Buffer.from(String(seen.length)));
      else stream.end();
    });
    stream.on("status", (status) => done([seen, status.code]));
    stream.write(Buffer.from("0"));
  });
  console.log(JSON.stringify(found));
  client.close();
})();
