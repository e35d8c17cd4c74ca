// One RunJob stream: chunks to the upload, events and artifact chunks to the client.
//
// Nothing here blocks: disk and hashing are on the executor. At most kMaxPendingBytes of chunks are held (reading stops
// while the disk is behind), one write is in flight, and one artifact chunk is prepared ahead of it. One mutex guards
// the state; gRPC's completions never run inside Start* or Finish (they come from the completion queue's own threads),
// so these are called with it held, which keeps their order. Lock order: this mutex, then the job table's.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "modelpress/v1/service.pb.h"
#include "server/rpc/service_environment.h"
#include "server/rpc/stream_registry.h"
#include "server/transfer/artifact.h"

namespace modelpress {

class RunJobReactor final : public grpc::ServerBidiReactor<v1::RunJobRequest, v1::RunJobResponse>,
                            public StreamObserver,
                            public WatchedStream,
                            public std::enable_shared_from_this<RunJobReactor> {
 public:
  static constexpr size_t kMaxPendingBytes = 1 << 20;
  // How long a stream that has sent everything waits for `release` or the client's half-close.
  static constexpr absl::Duration kLinger = absl::Seconds(5);

  // Owns itself until gRPC is done with it. The pointers outlive it.
  static RunJobReactor* Create(const ServiceEnvironment* environment, StreamRegistry* registry,
                               grpc::CallbackServerContext* context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void OnJobChanged() override;
  void OnTakenOver() override;
  void OnTick(absl::Time now) override;

 private:
  enum class Stage {
    kFirstMessage,  // start or resume must come
    kStarting,      // admission, or taking over, is under way
    kUploading,
    kFinishingUpload,  // digests are being compared
    kWatching,         // events, then the artifact, go down
    kLingering,        // everything is sent
    kFinished,         // Finish is called
  };

  RunJobReactor(const ServiceEnvironment* environment, StreamRegistry* registry,
                grpc::CallbackServerContext* context);

  // All with mutex_ held.
  void HandleMessage();
  void HandleChunk(v1::Chunk& chunk);
  void HandleFinishUpload(const v1::FinishUpload& message);
  void HandleRelease();
  void HandleHalfClose();
  void Read();
  void Pump();
  bool NextResponse();
  void PrepareArtifactChunk();
  void EndStream(const absl::Status& status);

  // On the executor, without mutex_.
  void Start(v1::StartJob message);
  void Resume(const v1::ResumeJob& message);
  void JoinUpload(const JobPtr& job);
  void Accept(const JobPtr& job, const UploadReceiver::Attachment& attachment,
              bool upload_finished);
  void ChunkWritten(uint32_t blob_id, size_t bytes, const absl::StatusOr<uint64_t>& committed);
  void Fail(const absl::Status& status);

  const ServiceEnvironment* const environment_;
  StreamRegistry* const registry_;
  grpc::CallbackServerContext* const context_;
  const absl::Time created_;

  std::mutex mutex_;
  std::shared_ptr<RunJobReactor> self_;
  Stage stage_ = Stage::kFirstMessage;
  JobPtr job_;
  std::optional<absl::Status> end_status_;  // waits for the write in flight

  v1::RunJobRequest request_;
  bool reading_ = false;
  bool reads_done_ = false;
  absl::Time last_read_;
  uint64_t generation_ = 0;
  size_t pending_bytes_ = 0;  // handed to the upload, not settled yet
  size_t pending_chunks_ = 0;
  absl::Time last_progress_;
  uint64_t unreported_bytes_ = 0;

  v1::RunJobResponse response_;
  bool writing_ = false;
  absl::Time write_start_;
  std::deque<v1::RunJobResponse> outgoing_;
  uint64_t sent_sequence_ = 0;
  std::deque<v1::JobEvent> events_;
  bool result_sent_ = false;

  std::vector<uint64_t> artifact_offsets_;
  std::shared_ptr<ArtifactReader> artifact_;
  std::optional<v1::RunJobResponse> artifact_chunk_;
  bool preparing_ = false;
  bool artifact_end_ = false;
  absl::Time linger_start_;
};

}  // namespace modelpress
