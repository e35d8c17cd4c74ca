// Artifact files on their way from a server: written at their offset, checked chunk by chunk and as a whole.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/base/sha256.h"
#include "core/base/status.h"
#include "google/protobuf/repeated_field.h"
#include "modelpress/v1/service.pb.h"

namespace modelpress {

// Not thread-safe.
class ArtifactReceiver {
 public:
  // Files are made in `folder`, which exists and is the caller's.
  explicit ArtifactReceiver(std::string folder);
  ~ArtifactReceiver();
  ArtifactReceiver(const ArtifactReceiver&) = delete;
  ArtifactReceiver& operator=(const ArtifactReceiver&) = delete;

  // What will come. The same list again keeps what has arrived; another one starts from nothing. PROTOCOL_VIOLATION for
  // a name that is not a plain file name: a server does not choose folders here.
  absl::Status Expect(const google::protobuf::RepeatedPtrField<ArtifactFile>& files);
  // CHUNK_CORRUPT, OFFSET_MISMATCH: ask again from offsets(). DISK_FULL, FILE_ACCESS: give up.
  absl::Status Add(const Chunk& chunk);
  // Bytes of each file that are here, for ResumeJob.
  std::vector<uint64_t> offsets() const;
  uint64_t received_bytes() const;
  uint64_t expected_bytes() const;
  bool complete() const { return received_bytes() == expected_bytes(); }
  // Syncs the files and compares digests. DIGEST_MISMATCH forgets everything that came.
  absl::Status Finish();
  // Starts from nothing.
  void Reset();

 private:
  struct File;
  std::string folder_;
  std::vector<std::unique_ptr<File>> files_;
};

}  // namespace modelpress
