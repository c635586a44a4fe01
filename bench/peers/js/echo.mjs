// An empty grpc-js server. `node echo.mjs PROTO INCLUDE ..` says where it listens, as JSON, in its first line.
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [file, ...includeDirs] = process.argv.slice(2);
const definition = loader.loadSync(file, { includeDirs, keepCase: true, enums: String });
const { DecisionService } = grpc.loadPackageDefinition(definition).tact.v1;

function Decide(call, done) {
  const event = call.request.event;
  const decision = {
    decision_id: "1-0123456789abcdef0123456789abcdef-0123456789abcdef-0",
    event_id: event.event_id,
    customer_id: event.customer_id,
    outcome: "SEND",
    message: "message_1",
    variant: "amount",
    channel: "push",
    text: "You moved 50 today. See what that can become.",
  };
  done(null, { decisions: [decision], event_id: event.event_id });
}

const server = new grpc.Server();
server.addService(DecisionService.service, { Decide });
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(JSON.stringify({ address: `127.0.0.1:${port}` }));
});
