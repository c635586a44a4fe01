// An empty gRPC server in C++, callback API. Says where it listens, as JSON, in its first line.
#include <grpcpp/grpcpp.h>

#include <iostream>

#include "tact/v1/decision.grpc.pb.h"

using tact::v1::Decision;

class Echo final : public tact::v1::DecisionService::CallbackService {
  grpc::ServerUnaryReactor* Decide(grpc::CallbackServerContext* context, const tact::v1::DecideRequest* request,
                                   tact::v1::DecideResponse* response) override {
    const auto& event = request->event();
    Decision* decision = response->add_decisions();
    decision->set_decision_id("1-0123456789abcdef0123456789abcdef-0123456789abcdef-0");
    decision->set_event_id(event.event_id());
    decision->set_customer_id(event.customer_id());
    decision->set_outcome(Decision::SEND);
    decision->set_message("message_1");
    decision->set_variant("amount");
    decision->set_channel("push");
    decision->set_text("You moved 50 today. See what that can become.");
    response->set_event_id(event.event_id());
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

int main() {
  Echo echo;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&echo);
  auto server = builder.BuildAndStart();
  if (!server) return 1;
  std::cout << "{\"address\": \"127.0.0.1:" << port << "\"}" << std::endl;
  server->Wait();
}
