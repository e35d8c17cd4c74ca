// An artifact cut into chunks: see artifact.h.
#include "server/transfer/artifact.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/crc/crc32c.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {

absl::StatusOr<std::vector<std::shared_ptr<const MappedFile>>> MapArtifact(
    const std::string& folder, const google::protobuf::RepeatedPtrField<v1::ArtifactFile>& files) {
  std::vector<std::shared_ptr<const MappedFile>> mapped;
  for (const ArtifactFile& file : files) {
    const std::string& name = file.name();
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos) {
      return Error(ERROR_REASON_INTERNAL_BUG, "a worker names a result that is no plain file name");
    }
    const std::string path = folder + "/" + name;
    std::error_code error;
    if (!std::filesystem::is_regular_file(std::filesystem::symlink_status(path, error))) {
      return Error(ERROR_REASON_INTERNAL_BUG, "a worker names a result file that is not there");
    }
    MP_ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> map, MappedFile::OpenForReading(path));
    if (map->size() != file.size_bytes()) {
      return Error(ERROR_REASON_INTERNAL_BUG,
                   FormatString("a worker says {} bytes of a result file that has {}",
                                file.size_bytes(), map->size()));
    }
    mapped.push_back(std::move(map));
  }
  return mapped;
}

absl::Status ArtifactReader::Seek(const std::vector<uint64_t>& offsets) {
  if (offsets.size() > files_.size()) {
    return Error(ERROR_REASON_REQUEST_INVALID,
                 FormatString("{} artifact offsets for {} files", offsets.size(), files_.size()))
        .With("field", "resume.artifact_offsets");
  }
  for (size_t i = 0; i < offsets.size(); ++i) {
    if (offsets[i] > files_[i]->size()) {
      return Error(ERROR_REASON_OFFSET_MISMATCH,
                   FormatString("offset {} in artifact file {}, which has {} bytes", offsets[i],
                                i + 1, files_[i]->size()))
          .With("blob", std::to_string(i + 1))
          .With("expected", std::to_string(files_[i]->size()))
          .With("found", std::to_string(offsets[i]));
    }
    offsets_[i] = offsets[i];
  }
  return absl::OkStatus();
}

std::optional<ArtifactChunk> ArtifactReader::Next() {
  while (current_ < files_.size() && offsets_[current_] == files_[current_]->size()) ++current_;
  if (current_ == files_.size()) return std::nullopt;
  uint64_t& offset = offsets_[current_];
  const auto rest = files_[current_]->bytes().subspan(offset);
  ArtifactChunk chunk;
  chunk.file_index = static_cast<uint32_t>(current_ + 1);
  chunk.offset = offset;
  chunk.data.assign(reinterpret_cast<const char*>(rest.data()),
                    std::min(chunk_bytes_, rest.size()));
  chunk.crc32c = static_cast<uint32_t>(absl::ComputeCrc32c(chunk.data));
  offset += chunk.data.size();
  return chunk;
}

}  // namespace modelpress
