// Calls the test methods with gRPC's C++ client; prints what came back as one JSON object.
// Usage: client HOST:PORT
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <future>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace {

using Prepare = std::function<void(grpc::ClientContext&)>;

const std::chrono::seconds kPatience(30);

grpc::ByteBuffer Pack(const std::string& body) {
  grpc::Slice slice(body);
  return grpc::ByteBuffer(&slice, 1);
}

std::string Unpack(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string body;
  if (buffer.Dump(&slices).ok())
    for (const grpc::Slice& slice : slices) body.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return body;
}

std::string Quoted(const std::string& text) {
  std::ostringstream out;
  out << '"';
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out << '\\' << c;
    } else if (c < 0x20) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
      out << escaped;
    } else {
      out << c;
    }
  }
  out << '"';
  return out.str();
}

// One call, message by message; every step waits for its end.
class Call {
 public:
  Call(grpc::GenericStub& stub, const std::string& path, const Prepare& prepare = nullptr) {
    context_.set_deadline(std::chrono::system_clock::now() + kPatience);
    if (prepare) prepare(context_);
    call_ = stub.PrepareCall(&context_, path, &queue_);
    Do([&](void* tag) { call_->StartCall(tag); });
  }

  ~Call() {
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  bool Write(const std::string& body) {
    return Do([&](void* tag) { call_->Write(Pack(body), tag); });
  }

  bool Read(std::string* body) {
    grpc::ByteBuffer buffer;
    bool ok = Do([&](void* tag) { call_->Read(&buffer, tag); });
    if (ok) *body = Unpack(buffer);
    return ok;
  }

  grpc::Status End() {
    Do([&](void* tag) { call_->WritesDone(tag); });
    return Finish();
  }

  grpc::Status Finish() {
    grpc::Status status;
    Do([&](void* tag) { call_->Finish(&status, tag); });
    return status;
  }

  void HalfClose() {
    Do([&](void* tag) { call_->WritesDone(tag); });
  }

  void Cancel() { context_.TryCancel(); }

  bool HasDetails() { return context_.GetServerTrailingMetadata().count("grpc-status-details-bin") > 0; }

 private:
  bool Do(const std::function<void(void*)>& step) {
    void* tag;
    bool ok = false;
    step(this);
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

struct Answer {
  grpc::Status status;
  std::string body;
  bool details = false;
};

// One message there, at most one back.
Answer Unary(grpc::GenericStub& stub, const std::string& path, const std::string& body,
             const Prepare& prepare = nullptr) {
  Call call(stub, path, prepare);
  Answer answer;
  call.Write(body);
  call.HalfClose();
  call.Read(&answer.body);
  answer.status = call.Finish();
  answer.details = call.HasDetails();
  return answer;
}

std::vector<std::string> Rest(Call& call) {
  std::vector<std::string> seen;
  std::string body;
  while (call.Read(&body)) seen.push_back(body);
  return seen;
}

class Report {
 public:
  void Add(const std::string& name, const std::string& json) {
    out_ << (first_ ? "{" : ", ") << Quoted(name) << ": " << json;
    first_ = false;
  }
  void Add(const std::string& name, bool value) { Add(name, std::string(value ? "true" : "false")); }
  void Add(const std::string& name, int value) { Add(name, std::to_string(value)); }
  std::string Whole() const { return out_.str() + "}"; }

 private:
  std::ostringstream out_;
  bool first_ = true;
};

std::string Told(const grpc::Status& status) {
  return "[" + std::to_string(status.error_code()) + ", " + Quoted(status.error_message()) + "]";
}

void Gzip(grpc::ClientContext& context) { context.set_compression_algorithm(GRPC_COMPRESS_GZIP); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  grpc::GenericStub stub(grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials()));
  const std::string service = "/test.Service/";
  Report report;

  report.Add("empty_unary", Unary(stub, service + "Echo", "").status.error_code());
  const std::string large(1000000, 'x');
  report.Add("large_unary", Unary(stub, service + "Echo", large).body == large);
  report.Add("compressed_unary", Unary(stub, service + "Echo", large, Gzip).body == large);

  std::vector<std::future<bool>> many;
  for (int i = 0; i < 100; ++i)
    many.push_back(std::async(std::launch::async, [&stub, &service, i] {
      return Unary(stub, service + "Echo", std::to_string(i)).body == std::to_string(i);
    }));
  bool all = true;
  for (auto& one : many) all = one.get() && all;
  report.Add("many", all);

  {
    Call call(stub, service + "Total");
    for (int size : {27182, 8, 1828, 45904}) call.Write(std::string(size, 'x'));
    call.HalfClose();
    std::vector<std::string> seen = Rest(call);
    report.Add("client_streaming", Quoted(seen.empty() ? "" : seen[0]));
    call.Finish();
  }
  {
    Call call(stub, service + "CountUp");
    call.Write("1000");
    call.HalfClose();
    report.Add("server_streaming", static_cast<int>(Rest(call).size()));
    call.Finish();
  }
  {
    Call call(stub, service + "Chat", Gzip);
    bool same = true;
    for (int size : {31415, 9, 2653, 58979}) {
      std::string answer;
      call.Write(std::string(size, 'y'));
      same = call.Read(&answer) && answer == std::string(size, 'y') && same;
    }
    report.Add("ping_pong", same && call.End().ok());
  }
  {
    Call call(stub, service + "Chat");
    call.HalfClose();
    bool none = Rest(call).empty();
    report.Add("empty_stream", none && call.Finish().ok());
  }
  {
    Call call(stub, service + "Sleep");
    call.Write("");
    call.HalfClose();
    call.Cancel();
    report.Add("cancel_after_begin", static_cast<int>(call.Finish().error_code()));
  }
  {
    Call call(stub, service + "Hang");
    std::string first;
    call.Write("x");
    call.Read(&first);
    call.Cancel();
    report.Add("cancel_after_first_response", static_cast<int>(call.Finish().error_code()));
  }
  report.Add("timeout", static_cast<int>(Unary(stub, service + "Sleep", "", [](grpc::ClientContext& context) {
                                           context.set_deadline(std::chrono::system_clock::now() +
                                                                std::chrono::milliseconds(100));
                                         }).status.error_code()));
  report.Add("metadata", Unary(stub, service + "Metadata", "", [](grpc::ClientContext& context) {
                           context.AddMetadata("x-text", "a, b");
                           context.AddMetadata("x-raw-bin", std::string("\x00\xff", 2));
                         }).body);
  Answer failed = Unary(stub, service + "Fail", R"({"code": 9, "message": "no", "reason": "R"})");
  report.Add("status", Told(failed.status));
  report.Add("details", failed.details);
  report.Add("special_status_message",
             Told(Unary(stub, service + "Fail", R"({"code": 2, "message": "\t100 % \u263a \ud83d\ude08\n"})").status));
  report.Add("unimplemented_method",
             static_cast<int>(Unary(stub, service + "Nothing", "").status.error_code()));
  report.Add("unimplemented_service", static_cast<int>(Unary(stub, "/test.Nobody/Echo", "").status.error_code()));

  std::cout << report.Whole() << std::endl;
  return 0;
}
