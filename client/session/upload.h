// The files of a job on their way to a server, read once: every byte is hashed as it is sent.
#pragma once

#include <memory>
#include <string>
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
  // `name` as in Blob.name: a relative path by which the job knows the file.
  void Add(Blob::Role role, std::string name, std::shared_ptr<const MappedFile> file);

  // Declarations in the order of Add, ids from 1.
  const std::vector<Blob>& blobs() const { return blobs_; }
  uint64_t total_bytes() const;

  // Fills `chunk` with up to `max_bytes` of blob `index` from `offset` (below its size). FILE_ACCESS if the file was
  // changed or cannot be read.
  absl::Status Read(size_t index, uint64_t offset, size_t max_bytes, Chunk* chunk);
  // SHA-256 of every blob by index; bytes that were never sent (a resumed upload had them already) are read now.
  absl::StatusOr<std::vector<std::string>> Digests();
  // Forgets all hashes: the files are read anew.
  void Rehash();

 private:
  struct Hash {
    Sha256 sha256;
    uint64_t hashed = 0;
    std::string digest;  // once complete
  };

  absl::Status ReadAt(size_t index, uint64_t offset, size_t size, char* data) const;
  absl::Status HashUpTo(size_t index, uint64_t end);
  void AddToHash(size_t index, uint64_t offset, std::string_view bytes);

  std::vector<Blob> blobs_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<std::unique_ptr<Hash>> hashes_;
};

}  // namespace modelpress
