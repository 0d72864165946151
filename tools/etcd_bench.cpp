// Puts to one etcd node through its gRPC API, for `./dev bench` only: a closed loop with a fixed
// number outstanding, all to one key, as the load on Tally is. One JSON object on stdout. Whether
// the puts were executed is checked by the key's version.
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "net/loop.h"
#include "tools/etcd_kv.grpc.pb.h"

namespace tally::tools {
namespace {

constexpr int kExitEnvironment = 3;

struct Options {
  std::string address;
  uint64_t connections = 1;
  uint64_t outstanding = 1;  // over all connections
  uint64_t seconds = 2;
  std::string key = "hits";
};

// One put at a time; begun again as soon as it is answered.
struct Slot {
  etcdserverpb::KV::Stub* stub = nullptr;
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<etcdserverpb::PutResponse>> reader;
  etcdserverpb::PutResponse response;
  grpc::Status status;
  Time began_at;
};

class EtcdBench {
 public:
  explicit EtcdBench(const Options& options) : options_(options) {
    for (uint64_t i = 0; i < options_.connections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection for each channel
      channels_.push_back(grpc::CreateCustomChannel(options_.address,
                                                    grpc::InsecureChannelCredentials(), arguments));
      stubs_.push_back(etcdserverpb::KV::NewStub(channels_.back()));
    }
    request_.set_key(options_.key);
    request_.set_value("12345678");  // a counter's size
  }

  int run();

 private:
  // How many puts made the key what it is; -1 and a word on stderr when nobody answers.
  int64_t version();
  void begin(Slot& slot);
  int report(int64_t put_count, double elapsed_s);

  const Options& options_;
  std::vector<std::shared_ptr<grpc::Channel>> channels_;
  std::vector<std::unique_ptr<etcdserverpb::KV::Stub>> stubs_;
  etcdserverpb::PutRequest request_;
  grpc::CompletionQueue queue_;
  std::vector<double> latencies_us_;
};

int64_t EtcdBench::version() {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(10));
  etcdserverpb::RangeRequest request;
  etcdserverpb::RangeResponse response;
  request.set_key(options_.key);
  const grpc::Status status = stubs_.front()->Range(&context, request, &response);
  if (!status.ok()) {
    fmt::print(stderr, "etcd_bench: {} does not answer a read: {}\n", options_.address,
               status.error_message());
    return -1;
  }
  return response.kvs_size() == 0 ? 0 : response.kvs(0).version();
}

void EtcdBench::begin(Slot& slot) {
  slot.context = std::make_unique<grpc::ClientContext>();
  slot.began_at = monotonic_now();
  slot.reader = slot.stub->AsyncPut(slot.context.get(), request_, &queue_);
  slot.reader->Finish(&slot.response, &slot.status, &slot);
}

int EtcdBench::run() {
  for (const auto& channel : channels_) {
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
      fmt::print(stderr, "etcd_bench: cannot reach {}\n", options_.address);
      return kExitEnvironment;
    }
  }
  const int64_t version_before = version();
  if (version_before < 0) return kExitEnvironment;

  std::vector<Slot> slots(options_.outstanding);
  const Time began_at = monotonic_now();
  const Time ends_at = began_at + std::chrono::seconds(options_.seconds);
  for (size_t i = 0; i < slots.size(); ++i) {
    slots[i].stub = stubs_[i % stubs_.size()].get();
    begin(slots[i]);
  }
  Time now = began_at;
  std::string error;  // of the first put that failed; the rest is waited for all the same
  void* tag = nullptr;
  bool is_whole = false;
  for (size_t open = slots.size(); open > 0 && queue_.Next(&tag, &is_whole);) {
    Slot& slot = *static_cast<Slot*>(tag);
    now = monotonic_now();
    if (slot.status.ok()) {
      latencies_us_.push_back(
          std::chrono::duration<double, std::micro>(now - slot.began_at).count());
    } else if (error.empty()) {
      error = slot.status.error_message();
    }
    if (now < ends_at && error.empty()) {
      begin(slot);
    } else {
      --open;
    }
  }
  if (!error.empty()) {
    fmt::print(stderr, "etcd_bench: a put failed: {}\n", error);
    return kExitEnvironment;
  }
  const int64_t version_after = version();
  if (version_after < 0) return kExitEnvironment;
  return report(version_after - version_before,
                std::chrono::duration<double>(now - began_at).count());
}

int EtcdBench::report(int64_t put_count, double elapsed_s) {
  if (put_count != static_cast<int64_t>(latencies_us_.size())) {
    fmt::print(stderr, "etcd_bench: {} puts were answered, but the key's version rose by {}\n",
               latencies_us_.size(), put_count);
    return 1;
  }
  std::sort(latencies_us_.begin(), latencies_us_.end());
  const auto at = [&](double quantile) {
    return latencies_us_[static_cast<size_t>(quantile *
                                             static_cast<double>(latencies_us_.size() - 1))];
  };
  fmt::print("{{\"ok\":{},\"ok_per_second\":{:.0f},\"p50_us\":{:.1f},\"p99_us\":{:.1f}}}\n",
             put_count, static_cast<double>(put_count) / elapsed_s, at(0.5), at(0.99));
  return 0;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app{"etcd_bench: puts to one etcd node, for ./dev bench", "etcd_bench"};
  app.add_option("address", options.address, "The node's HOST:PORT for clients")->required();
  app.add_option("--connections", options.connections, "How many")->check(CLI::Range(1, 1000));
  app.add_option("--outstanding", options.outstanding, "Puts in flight, over all connections")
      ->check(CLI::Range(1, 10'000));
  app.add_option("--seconds", options.seconds, "How long")->check(CLI::Range(1, 3600));
  app.add_option("--key", options.key, "The key that is put");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return EtcdBench(options).run();
}

}  // namespace
}  // namespace tally::tools

int main(int argc, char** argv) { return tally::tools::run(argc, argv); }
