// The files of a job on their way to a server. They are hashed by a thread of their own beside the sending, which finds
// the bytes in the page cache: hashing takes as long as everything else that sending does.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/mapped_file.h"
#include "core/base/sha256.h"
#include "core/base/status.h"
#include "modelpress/v1/service.pb.h"

namespace modelpress {

// Not thread-safe.
class Upload {
 public:
  Upload() = default;
  ~Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  // `name` as in Blob.name: a relative path by which the job knows the file.
  void Add(Blob::Role role, std::string name, std::shared_ptr<const MappedFile> file);

  // Declarations in the order of Add, ids from 1.
  const std::vector<Blob>& blobs() const { return blobs_; }
  uint64_t total_bytes() const;

  // Fills `chunk` with up to `max_bytes` of blob `index` from `offset` (below its size). FILE_ACCESS if the file was
  // changed or cannot be read. The first call starts the hashing.
  absl::Status Read(size_t index, uint64_t offset, size_t max_bytes, Chunk* chunk);
  // SHA-256 of every blob by index; waits for the hashing.
  absl::StatusOr<std::vector<std::string>> Digests();
  // Forgets all digests: the files are read anew.
  void Rehash();

 private:
  absl::Status ReadAt(size_t index, uint64_t offset, size_t size, char* data) const;
  void StartHashing();
  absl::StatusOr<std::vector<std::string>> Hash() const;

  std::vector<Blob> blobs_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  // Written by the hasher; read when it is joined.
  absl::StatusOr<std::vector<std::string>> digests_ = std::vector<std::string>();
  std::atomic<bool> abandoned_ = false;
  bool hashing_ = false;
  std::thread hasher_;
};

}  // namespace modelpress
