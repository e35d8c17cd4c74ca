// The fake service; see fake_server.h.
#include "tests/unit/client/fake_server.h"

#include <thread>

#include "absl/crc/crc32c.h"
#include "core/base/sha256.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/server_builder.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress::testing {
namespace {

constexpr size_t kDownChunkBytes = 1000;

google::rpc::Status Rich(ErrorReason reason, const std::map<std::string, std::string>& metadata,
                         int retry_ms) {
  google::rpc::Status status;
  status.set_code(static_cast<int>(CodeOf(reason)));
  status.set_message("refused");
  google::rpc::ErrorInfo info;
  info.set_domain("modelpress");
  info.set_reason(std::string(ReasonName(reason)));
  for (const auto& [key, value] : metadata) (*info.mutable_metadata())[key] = value;
  status.add_details()->PackFrom(info);
  if (retry_ms >= 0) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(retry_ms * 1'000'000);
    status.add_details()->PackFrom(retry);
  }
  return status;
}

grpc::Status Refusal(ErrorReason reason, const std::map<std::string, std::string>& metadata = {},
                     int retry_ms = -1) {
  const google::rpc::Status rich = Rich(reason, metadata, retry_ms);
  return {static_cast<grpc::StatusCode>(rich.code()), rich.message(), rich.SerializeAsString()};
}

grpc::Status Broken() { return {grpc::StatusCode::UNAVAILABLE, "connection reset"}; }

std::string Digest(const std::string& text) { return Sha256Hex(std::as_bytes(std::span(text))); }

}  // namespace

FakeServer::FakeServer() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
  address_ = "127.0.0.1:" + std::to_string(port);
  advertised_ = address_;
}

FakeServer::~FakeServer() { server_->Shutdown(std::chrono::system_clock::now()); }

grpc::Status FakeServer::RunJob(grpc::ServerContext* context, Stream* stream) {
  RunJobRequest first;
  if (!stream->Read(&first)) return grpc::Status::OK;
  Fault fault;
  RunJobResponse accepted;
  {
    std::lock_guard lock(mutex_);
    first_messages_.push_back(first);
    if (!faults_.empty()) {
      fault = faults_.front();
      faults_.pop_front();
    }
    if (fault.kind == Fault::kForget) alive_ = false;
    if (fault.kind == Fault::kRefuse) return Refusal(fault.reason, {}, fault.retry_after_ms);
    if (fault.kind == Fault::kNotMine)
      return Refusal(ERROR_REASON_UNKNOWN_JOB, {{"instance", "10.9.9.9:1"}});
    if (first.has_resume() && (!alive_ || first.resume().job_id() != JobId())) {
      return Refusal(ERROR_REASON_UNKNOWN_JOB, {{"instance", advertised_}});
    }
    if (first.has_start() && !(alive_ && start_.request_id() == first.start().request_id())) {
      alive_ = true;
      start_ = first.start();
      blobs_.assign(start_.blobs_size(), "");
      upload_finished_ = cancelled_ = false;
    }
    accepted.mutable_accepted()->mutable_job()->set_job_id(JobId());
    accepted.mutable_accepted()->set_upload_finished(upload_finished_);
    for (const std::string& blob : blobs_)
      accepted.mutable_accepted()->add_committed_bytes(blob.size());
  }
  stream->Write(accepted);
  if (fault.kind == Fault::kStall) {
    while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return grpc::Status::CANCELLED;
  }
  if (grpc::Status status = Receive(stream, fault); !status.ok()) return status;
  return Deliver(
      stream, fault, first.resume().after_sequence(),
      {first.resume().artifact_offsets().begin(), first.resume().artifact_offsets().end()});
}

grpc::Status FakeServer::Receive(Stream* stream, const Fault& fault) {
  uint64_t came = 0;
  RunJobRequest request;
  while (true) {
    {
      std::lock_guard lock(mutex_);
      if (upload_finished_) return grpc::Status::OK;
    }
    if (!stream->Read(&request)) return Broken();
    std::lock_guard lock(mutex_);
    if (request.has_chunk()) {
      const Chunk& chunk = request.chunk();
      std::string& blob = blobs_.at(chunk.blob_id() - 1);
      if (chunk.offset() != blob.size()) return Refusal(ERROR_REASON_OFFSET_MISMATCH);
      if (chunk.crc32c() != static_cast<uint32_t>(absl::ComputeCrc32c(chunk.data()))) {
        return Refusal(ERROR_REASON_CHUNK_CORRUPT);
      }
      blob += chunk.data();
      came += chunk.data().size();
      received_bytes_ += chunk.data().size();
      if (fault.kind == Fault::kCutUpload && came >= fault.bytes) return Broken();
    } else if (request.has_finish_upload()) {
      for (size_t i = 0; i < blobs_.size(); ++i) {
        if (request.finish_upload().sha256(i) != Digest(blobs_[i]))
          return Refusal(ERROR_REASON_DIGEST_MISMATCH);
      }
      upload_finished_ = true;
    }
  }
}

grpc::Status FakeServer::Deliver(Stream* stream, const Fault& fault, uint64_t after_sequence,
                                 std::vector<uint64_t> offsets) {
  RunJobResponse response;
  JobEvent& event = *response.mutable_event();
  auto send = [&](uint64_t sequence) {
    event.set_sequence(sequence);
    return sequence <= after_sequence || stream->Write(response);
  };
  event.set_phase("quantize_weights");
  event.set_state(Job::STATE_RUNNING);
  send(1);
  for (bool done = !endless_; !done;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    std::lock_guard lock(mutex_);
    done = cancelled_;
  }
  JobResult& result = *event.mutable_result();
  if (endless_) {
    *result.mutable_status() = Rich(ERROR_REASON_JOB_CANCELLED, {}, -1);
    send(2);
    return grpc::Status::OK;
  }
  for (const auto& [name, content] : artifact_) {
    ArtifactFile& file = *result.add_files();
    file.set_name(name);
    file.set_size_bytes(content.size());
    file.set_sha256(Digest(content));
  }
  send(2);
  offsets.resize(artifact_.size(), 0);
  uint64_t sent = 0;
  for (size_t i = 0; i < artifact_.size(); ++i) {
    const std::string& content = artifact_[i].second;
    for (uint64_t offset = offsets[i]; offset < content.size(); offset += kDownChunkBytes) {
      RunJobResponse down;
      Chunk& chunk = *down.mutable_artifact_chunk();
      chunk.set_blob_id(i + 1);
      chunk.set_offset(offset);
      chunk.set_data(content.substr(offset, kDownChunkBytes));
      chunk.set_crc32c(static_cast<uint32_t>(absl::ComputeCrc32c(chunk.data())));
      if (fault.kind == Fault::kDamageChunk && sent == 0) (*chunk.mutable_data())[0] ^= 1;
      stream->Write(down);
      sent += chunk.data().size();
      if (fault.kind == Fault::kCutDownload && sent >= fault.bytes) return Broken();
    }
  }
  RunJobRequest request;
  while (stream->Read(&request)) {
    std::lock_guard lock(mutex_);
    if (request.has_release()) ++releases_;
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::CancelJob(grpc::ServerContext*, const CancelJobRequest* request,
                                   Job* response) {
  std::lock_guard lock(mutex_);
  if (!alive_ || request->job_id() != JobId()) return Refusal(ERROR_REASON_UNKNOWN_JOB);
  ++cancels_;
  cancelled_ = true;
  response->set_job_id(JobId());
  return grpc::Status::OK;
}

std::vector<std::string> FakeServer::uploaded() const {
  std::lock_guard lock(mutex_);
  return blobs_;
}
std::vector<RunJobRequest> FakeServer::first_messages() const {
  std::lock_guard lock(mutex_);
  return first_messages_;
}
int FakeServer::cancels() const {
  std::lock_guard lock(mutex_);
  return cancels_;
}
int FakeServer::releases() const {
  std::lock_guard lock(mutex_);
  return releases_;
}
uint64_t FakeServer::received_bytes() const {
  std::lock_guard lock(mutex_);
  return received_bytes_;
}

}  // namespace modelpress::testing
