// Calls the test methods with grpc-js; prints what came back as one JSON object.
// Usage: node client.js HOST:PORT
const grpc = require("@grpc/grpc-js");

const PATIENCE_MS = 30000;
const GZIP = { "grpc.default_compression_algorithm": 2 };
const same = (bytes) => bytes;

const open = (options = {}) => new grpc.Client(process.argv[2], grpc.credentials.createInsecure(), options);
const client = open();
const packing = open(GZIP);
const full = (path) => (path.startsWith("/") ? path : `/test.Service/${path}`);

const call = (path, body = "", { metadata = new grpc.Metadata(), by_ms = PATIENCE_MS, through = client, begun = () => {} } = {}) =>
  new Promise((done) => {
    const under_way = through.makeUnaryRequest(
      full(path), same, same, Buffer.from(body), metadata, { deadline: Date.now() + by_ms },
      (error, answer) => done(error ? { code: error.code, text: error.details, trailers: error.metadata } : { code: 0, text: String(answer) }),
    );
    begun(under_way);
  });

// Answers, and the status at the end; `talk` is told of every answer, and of the beginning.
const chat = (path, talk, through = client) =>
  new Promise((done) => {
    const stream = through.makeBidiStreamRequest(full(path), same, same, new grpc.Metadata(), { deadline: Date.now() + PATIENCE_MS });
    const seen = [];
    stream.on("data", (answer) => {
      seen.push(String(answer));
      talk(stream, seen);
    });
    stream.on("error", () => {});
    stream.on("status", (status) => done({ seen, code: status.code }));
    talk(stream, seen);
  });

const all = (bodies) => (stream, seen) => {
  if (seen.length) return;
  bodies.forEach((body) => stream.write(Buffer.from(body)));
  stream.end();
};

(async () => {
  const found = {};
  const large = "x".repeat(1000000);
  found.empty_unary = (await call("Echo")).code;
  found.large_unary = (await call("Echo", large)).text === large;
  found.compressed_unary = (await call("Echo", large, { through: packing })).text === large;
  found.many = (await Promise.all([...Array(300).keys()].map((i) => call("Echo", String(i))))).every((r, i) => r.text === String(i));
  found.client_streaming = (await chat("Total", all([27182, 8, 1828, 45904].map((size) => "x".repeat(size))))).seen[0];
  found.server_streaming = (await chat("CountUp", all(["1000"]))).seen.length;
  const sizes = [31415, 9, 2653, 58979];
  const pong = await chat("Chat", (stream, seen) => {
    if (seen.length < sizes.length) stream.write(Buffer.alloc(sizes[seen.length], "y"));
    else stream.end();
  }, packing);
  found.ping_pong = pong.code === 0 && pong.seen.every((answer, i) => answer.length === sizes[i]);
  const empty = await chat("Chat", (stream) => stream.end());
  found.empty_stream = empty.code === 0 && empty.seen.length === 0;
  found.cancel_after_begin = (await call("Sleep", "", { begun: (one) => one.cancel() })).code;
  found.cancel_after_first_response = (await chat("Hang", (stream, seen) => (seen.length ? stream.cancel() : stream.write(Buffer.from("x"))))).code;
  found.timeout = (await call("Sleep", "", { by_ms: 100 })).code;
  const metadata = new grpc.Metadata();
  metadata.set("x-text", "a, b");
  metadata.set("x-raw-bin", Buffer.from([0, 255]));
  found.metadata = JSON.parse((await call("Metadata", "", { metadata })).text);
  const failed = await call("Fail", '{"code": 9, "message": "no", "reason": "R"}');
  found.status = [failed.code, failed.text];
  found.details = failed.trailers.get("grpc-status-details-bin").length > 0;
  const special = await call("Fail", '{"code": 2, "message": "\\t100 % \\u263a \\ud83d\\ude08\\n"}');
  found.special_status_message = [special.code, special.text];
  found.unimplemented_method = (await call("Nothing")).code;
  found.unimplemented_service = (await call("/test.Nobody/Echo")).code;
  console.log(JSON.stringify(found));
  client.close();
  packing.close();
  process.exit(0); // timers of deadlines that did not come would be waited for
})();
