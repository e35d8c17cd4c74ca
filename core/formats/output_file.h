// A file being written: under a temporary name beside its final one, its SHA-256 computed on a second thread while the
// bytes are written, synced and renamed at the end. Whatever fails leaves nothing behind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/cancellation.h"

namespace modelpress {

// Used by one thread.
class OutputFile {
 public:
  // Creates the temporary file in `folder` and reserves `size` bytes where the file system can. DISK_FULL, FILE_ACCESS.
  static absl::StatusOr<std::unique_ptr<OutputFile>> Create(const std::string& folder,
                                                            uint64_t size,
                                                            const Cancellation* cancellation);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // `bytes` must stay valid until Finish: the digest is computed behind the writing.
  absl::Status Append(std::span<const std::byte> bytes);
  absl::Status AppendZeros(uint64_t count);
  // Ends the writing; returns the SHA-256. Nothing may be appended afterwards.
  absl::StatusOr<std::string> Finish();
  // Syncs to disk and renames to `name` in the folder (an existing file is replaced). Call after Finish.
  absl::Status Publish(const std::string& name);

  uint64_t size() const { return size_; }
  // Wall time that Publish spent waiting for the disk.
  double sync_seconds() const { return sync_seconds_; }

 private:
  class Digest;
  OutputFile() = default;

  std::string folder_;
  std::string temporary_path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
  double sync_seconds_ = 0;
  const Cancellation* cancellation_ = nullptr;
  std::unique_ptr<Digest> digest_;
};

// Makes renames in the folder durable.
absl::Status SyncFolder(const std::string& folder);

}  // namespace modelpress
