// A whole server in the process, with jobs that do as they are told, and a plain client of one stream.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/base/scratch.h"
#include "core/base/status.h"
#include "modelpress/v1/service.grpc.pb.h"
#include "server/lifecycle/server.h"

namespace modelpress::testing {

// What a job does, told by its recipe's seed. Each copies the model to the artifact if it comes to its end.
enum Behaviour : uint64_t {
  kCopy = 0,
  kUntilGate = 1,
  kUntilCancelled = 2,
  kFail = 3,
  kInvalidRecipe = 4,
  kHuge = 5
};

// Opens the way for kUntilGate jobs.
struct Gate {
  std::atomic<bool> open = false;
};

class Stream {
 public:
  explicit Stream(v1::JobService::Stub& stub) : stream_(stub.RunJob(&context_)) {}

  bool Send(const v1::RunJobRequest& request) { return stream_->Write(request); }
  void SendStart(const std::string& request_id, const std::vector<std::string>& blobs,
                 uint64_t behaviour = kCopy, bool validate_only = false);
  void SendResume(const std::string& job_id, uint64_t after_sequence,
                  std::vector<uint64_t> offsets = {});
  // In chunks of 256 KiB from `from` up to `to` (default: the end).
  void SendBlob(uint32_t blob_id, const std::string& bytes, size_t from = 0,
                size_t to = std::string::npos);
  void SendChunk(uint32_t blob_id, uint64_t offset, const std::string& data, bool corrupt = false);
  void SendFinish(const std::vector<std::string>& blobs);
  void SendRelease();

  // Reads until `accepted`; fails the test if the stream ends before.
  v1::JobAccepted ReadAccepted();
  // Reads events up to the one with the result; remembers the last sequence.
  v1::JobResult ReadResult();
  // Reads one event.
  v1::JobEvent ReadEvent();
  // Reads artifact chunks until `size` bytes of file 1, starting at `offset`, have come, checking offsets and checksums.
  std::string ReadArtifact(uint64_t offset, uint64_t size);
  // Half-closes, reads the rest, returns the status.
  grpc::Status Finish();
  // Reads the rest without half-closing.
  grpc::Status WaitForEnd();
  // As a lost connection.
  void Break() {
    context_.TryCancel();
    Finish();
  }

  uint64_t last_sequence = 0;
  grpc::ClientContext& context() { return context_; }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::RunJobRequest, v1::RunJobResponse>> stream_;
};

// The reason in a status's google.rpc.ErrorInfo; "" if there is none.
std::string ReasonOfRpc(const grpc::Status& status);
bool HasRetryInfo(const grpc::Status& status);
std::string RandomBytes(size_t size, uint32_t seed);

class ServerTest : public ::testing::Test {
 protected:
  ServerTest();
  // Every stream and every byte must be given back by the end of each test.
  void TearDown() override;
  // Called by tests that need other settings than the defaults, before anything else.
  void Restart(const v1::ServerConfig& config);
  static v1::ServerConfig DefaultConfig();
  v1::Job WaitForState(const std::string& job_id, v1::Job::State state);
  std::string Scrape();

  std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  std::unique_ptr<Scratch> scratch_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> stub_;
};

}  // namespace modelpress::testing
