// Receiving artifact files; see artifact_receiver.h.
#include "client/session/artifact_receiver.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <utility>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"

namespace modelpress {
namespace {

absl::Status FileError(const std::string& path) {
  const int code = errno;
  const bool full = code == ENOSPC || code == EDQUOT;
  return Error(full ? ERROR_REASON_DISK_FULL : ERROR_REASON_FILE_ACCESS,
               absl::StrCat("cannot write ", path, ": ", strerror(code)))
      .With("path", path)
      .Remedy(full ? "make room, or write to another disk"
                   : "choose a folder that you may write to");
}

bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

struct ArtifactReceiver::File {
  ArtifactFile description;
  std::string path;
  int descriptor = -1;
  uint64_t received = 0;
  Sha256 sha256;

  ~File() {
    if (descriptor >= 0) close(descriptor);
  }
};

ArtifactReceiver::ArtifactReceiver(std::string folder) : folder_(std::move(folder)) {}
ArtifactReceiver::~ArtifactReceiver() = default;

absl::Status ArtifactReceiver::Expect(
    const google::protobuf::RepeatedPtrField<ArtifactFile>& files) {
  bool same = files_.size() == static_cast<size_t>(files.size());
  for (int i = 0; same && i < files.size(); ++i) {
    const ArtifactFile& known = files_[i]->description;
    same = known.name() == files[i].name() && known.size_bytes() == files[i].size_bytes() &&
           known.sha256() == files[i].sha256();
  }
  if (same) return absl::OkStatus();
  Reset();
  for (const ArtifactFile& description : files) {
    if (!IsPlainFileName(description.name())) {
      return Error(ERROR_REASON_PROTOCOL_VIOLATION,
                   absl::StrCat("the server names an artifact file \"", description.name(),
                                "\", which is not a plain file name"));
    }
    auto file = std::make_unique<File>();
    file->description = description;
    file->path = absl::StrCat(folder_, "/", description.name());
    // Never through a link, never over a file that this object did not make.
    unlink(file->path.c_str());
    file->descriptor = open(file->path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file->descriptor < 0) return FileError(file->path);
    files_.push_back(std::move(file));
  }
  return absl::OkStatus();
}

absl::Status ArtifactReceiver::Add(const Chunk& chunk) {
  if (chunk.blob_id() < 1 || chunk.blob_id() > files_.size()) {
    return Error(ERROR_REASON_PROTOCOL_VIOLATION,
                 absl::StrCat("a chunk of artifact file ", chunk.blob_id(), " of ", files_.size()));
  }
  File& file = *files_[chunk.blob_id() - 1];
  const std::string& data = chunk.data();
  if (chunk.offset() != file.received ||
      data.size() > file.description.size_bytes() - file.received) {
    return Error(ERROR_REASON_OFFSET_MISMATCH,
                 absl::StrCat(file.description.name(), ": a chunk of ", data.size(), " bytes at ",
                              chunk.offset(), ", expected at ", file.received, " of ",
                              file.description.size_bytes()));
  }
  if (static_cast<uint32_t>(absl::ComputeCrc32c(data)) != chunk.crc32c()) {
    return Error(ERROR_REASON_CHUNK_CORRUPT,
                 absl::StrCat(file.description.name(), ": the chunk at ", chunk.offset(),
                              " was damaged on its way"));
  }
  for (size_t done = 0; done < data.size();) {
    const ssize_t count = pwrite(file.descriptor, data.data() + done, data.size() - done,
                                 static_cast<off_t>(file.received + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return FileError(file.path);
    done += static_cast<size_t>(count);
  }
  file.sha256.Update(std::as_bytes(std::span(data)));
  file.received += data.size();
  return absl::OkStatus();
}

std::vector<uint64_t> ArtifactReceiver::offsets() const {
  std::vector<uint64_t> offsets;
  for (const auto& file : files_) offsets.push_back(file->received);
  return offsets;
}

uint64_t ArtifactReceiver::received_bytes() const {
  uint64_t total = 0;
  for (const auto& file : files_) total += file->received;
  return total;
}

uint64_t ArtifactReceiver::expected_bytes() const {
  uint64_t total = 0;
  for (const auto& file : files_) total += file->description.size_bytes();
  return total;
}

absl::Status ArtifactReceiver::Finish() {
  for (const auto& file : files_) {
    if (fsync(file->descriptor) != 0) return FileError(file->path);
    const std::string digest = file->sha256.FinishHex();
    if (digest != file->description.sha256()) {
      absl::Status status =
          Error(ERROR_REASON_DIGEST_MISMATCH,
                absl::StrCat(file->description.name(), " arrived with SHA-256 ", digest,
                             " but the server announced ", file->description.sha256()))
              .With("expected", file->description.sha256())
              .With("found", digest);
      Reset();
      return status;
    }
  }
  return absl::OkStatus();
}

void ArtifactReceiver::Reset() {
  for (const auto& file : files_) unlink(file->path.c_str());
  files_.clear();
}

}  // namespace modelpress
