// The blobs of one job on their way from the network to the scratch folder.
//
// Bytes are checked (CRC-32C), written at the committed offset of a file whose blocks are already reserved, and hashed
// (SHA-256) behind the writer on another thread. A blob's name never becomes a path: files are called by their blob id.
//
// Thread-safe; nothing here blocks the caller: work is done on the executor, and each call's `done` runs there, exactly
// once. The object lives as long as any of its work.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/sha256.h"
#include "server/transfer/task_pool.h"

namespace modelpress {

class UploadReceiver : public std::enable_shared_from_this<UploadReceiver> {
 public:
  // Bytes that may wait for the hasher before the writer is held back, per job.
  static constexpr uint64_t kMaxHashBacklog = 2 << 20;

  struct Attachment {
    // Names the sender in Append and Finish; a newer Attach makes older ones stale.
    uint64_t generation = 0;
    // By blob_id - 1.
    std::vector<uint64_t> committed;
  };

  // Files are made in `folder` (made if missing), one for each size in bytes. The work begins at once.
  static std::shared_ptr<UploadReceiver> Begin(std::string folder, std::vector<uint64_t> sizes,
                                               Executor executor);
  ~UploadReceiver();

  // A new sender takes over; everything that older senders handed in before, Finish too, is settled by then. DISK_FULL if the blocks
  // could not be reserved.
  void Attach(std::function<void(absl::StatusOr<Attachment>)> done);

  // One chunk. `done` gets the blob's committed bytes, as soon as the next chunk may come (the data is written and the
  // hasher is not far behind). CHUNK_CORRUPT, OFFSET_MISMATCH, REQUEST_INVALID (unknown blob), DISK_FULL; after any of
  // them nothing has changed. ABORTED for a stale sender.
  void Append(uint64_t generation, uint32_t blob_id, uint64_t offset, std::string data,
              uint32_t crc32c, std::function<void(absl::StatusOr<uint64_t>)> done);

  // All blobs are sent: lower-case hex digests by blob_id - 1. UPLOAD_INCOMPLETE; DIGEST_MISMATCH, after which that
  // blob is sent again from byte 0.
  void Finish(uint64_t generation, std::vector<std::string> sha256,
              std::function<void(absl::Status)> done);

  // The file of a blob.
  std::string path(size_t index) const;
  uint64_t total_bytes() const { return total_bytes_; }

 private:
  struct BlobFile {
    uint64_t size = 0;
    uint64_t committed = 0;
    int descriptor = -1;
    // Both are the hash strand's until Finish gave the digest.
    std::optional<Sha256> hash{std::in_place};
    std::string digest;
  };

  UploadReceiver(std::string folder, std::vector<uint64_t> sizes, Executor executor);
  absl::Status Allocate();
  absl::StatusOr<uint64_t> Write(uint64_t generation, uint32_t blob_id, uint64_t offset,
                                 const std::string& data, uint32_t crc32c);
  absl::Status CheckComplete(uint64_t generation, const std::vector<std::string>& sha256);
  absl::Status CheckDigests(const std::vector<std::string>& sha256);
  void CloseFiles();

  const std::string folder_;
  uint64_t total_bytes_ = 0;
  Strand write_strand_;
  Strand hash_strand_;
  // Everything below belongs to the write strand, but for what is said to be the hash strand's.
  absl::Status allocated_;
  uint64_t generation_ = 0;
  enum class State { kReceiving, kHashing, kComplete };
  State state_ = State::kReceiving;
  std::vector<Task> waiting_;  // for the end of kHashing
  std::vector<BlobFile> blobs_;
  std::mutex backlog_mutex_;
  uint64_t hash_backlog_ = 0;
};

}  // namespace modelpress
