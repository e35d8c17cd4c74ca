// A small JobService in this process that keeps the protocol as a real one does, and breaks it on request: one fault per
// stream, in order.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/base/status.h"
#include "grpcpp/server.h"
#include "modelpress/v1/service.grpc.pb.h"

namespace modelpress::testing {

struct Fault {
  enum Kind {
    kNone,
    kCutUpload,    // the stream breaks after `bytes` of the upload were committed in it
    kCutDownload,  // the stream breaks after `bytes` of the artifact were sent in it
    kDamageChunk,  // the first artifact chunk of the stream is damaged
    kStall,        // after acceptance nothing comes
    kForget,       // the job is forgotten (a restart) before the first message is looked at
    kRefuse,       // the stream is refused with `reason`, and RetryInfo if retry_after_ms >= 0
    kNotMine,      // another replica answers: it does not know the job
  };
  Kind kind = kNone;
  uint64_t bytes = 0;
  ErrorReason reason = ERROR_REASON_UNSPECIFIED;
  int retry_after_ms = -1;
};

class FakeServer final : public v1::JobService::Service {
 public:
  // Listens on a free loopback port.
  FakeServer();
  ~FakeServer() override;

  const std::string& address() const { return address_; }
  // The job's artifact, one or more files.
  void set_artifact(std::vector<std::pair<std::string, std::string>> files) {
    artifact_ = std::move(files);
  }
  void set_faults(std::deque<Fault> faults) { faults_ = std::move(faults); }
  // Address in the ids of jobs; default its own.
  void set_advertised(std::string address) { advertised_ = std::move(address); }
  // The job ends only when it is cancelled.
  void set_endless() { endless_ = true; }

  // What has come.
  std::vector<std::string> uploaded() const;
  std::vector<RunJobRequest> first_messages() const;
  int cancels() const;
  int releases() const;
  // Bytes of chunks over all streams.
  uint64_t received_bytes() const;

  grpc::Status RunJob(grpc::ServerContext* context,
                      grpc::ServerReaderWriter<RunJobResponse, RunJobRequest>* stream) override;
  grpc::Status CancelJob(grpc::ServerContext* context, const CancelJobRequest* request,
                         Job* response) override;

 private:
  using Stream = grpc::ServerReaderWriter<RunJobResponse, RunJobRequest>;
  grpc::Status Receive(Stream* stream, const Fault& fault);
  grpc::Status Deliver(Stream* stream, const Fault& fault, uint64_t after_sequence,
                       std::vector<uint64_t> offsets);
  std::string JobId() const { return "job@" + advertised_; }

  mutable std::mutex mutex_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  std::string advertised_;
  std::vector<std::pair<std::string, std::string>> artifact_;
  std::deque<Fault> faults_;
  bool endless_ = false;

  bool alive_ = false;
  StartJob start_;
  std::vector<std::string> blobs_;
  bool upload_finished_ = false;
  bool cancelled_ = false;
  std::vector<RunJobRequest> first_messages_;
  int cancels_ = 0;
  int releases_ = 0;
  uint64_t received_bytes_ = 0;
};

}  // namespace modelpress::testing
