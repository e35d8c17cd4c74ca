// A finished artifact on its way to the client: mapped files cut into chunks, from given offsets on.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/mapped_file.h"
#include "modelpress/v1/report.pb.h"

namespace modelpress {

struct ArtifactChunk {
  uint32_t file_index = 0;  // 1-based
  uint64_t offset = 0;
  std::string data;
  uint32_t crc32c = 0;
};

// Maps what a worker says it wrote into `folder`. The worker has read untrusted bytes, so its answer is not trusted
// either: INTERNAL_BUG for a name that is not a plain file name, a file that is no regular file or has another size.
absl::StatusOr<std::vector<std::shared_ptr<const MappedFile>>> MapArtifact(
    const std::string& folder, const google::protobuf::RepeatedPtrField<v1::ArtifactFile>& files);

// Walks over the files in order. Not thread-safe. Holds the mappings.
class ArtifactReader {
 public:
  ArtifactReader(std::vector<std::shared_ptr<const MappedFile>> files, size_t chunk_bytes)
      : files_(std::move(files)), offsets_(files_.size()), chunk_bytes_(chunk_bytes) {}

  // Bytes of each file that the client already has; fewer entries than files: the rest from 0. OFFSET_MISMATCH beyond
  // the end of a file, REQUEST_INVALID for more offsets than files.
  absl::Status Seek(const std::vector<uint64_t>& offsets);
  // The next chunk, or nothing at the end. Reads from the disk where the page cache no longer has the bytes.
  std::optional<ArtifactChunk> Next();

 private:
  std::vector<std::shared_ptr<const MappedFile>> files_;
  std::vector<uint64_t> offsets_;
  size_t chunk_bytes_;
  size_t current_ = 0;
};

}  // namespace modelpress
