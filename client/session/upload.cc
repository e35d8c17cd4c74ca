// Reading and hashing uploads; see upload.h. Files are read with pread, not through their mapping: a file that somebody
// truncates while it is sent must be an error, not a SIGBUS.
#include "client/session/upload.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/crc/crc32c.h"
#include "absl/strings/str_cat.h"

namespace modelpress {
namespace {

constexpr size_t kHashBlockBytes = 256 << 10;  // stays in the cache between reading and hashing

}  // namespace

void Upload::Add(Blob::Role role, std::string name, std::shared_ptr<const MappedFile> file) {
  Blob blob;
  blob.set_blob_id(static_cast<uint32_t>(blobs_.size() + 1));
  blob.set_role(role);
  blob.set_name(std::move(name));
  blob.set_size_bytes(file->size());
  blobs_.push_back(std::move(blob));
  files_.push_back(std::move(file));
}

uint64_t Upload::total_bytes() const {
  uint64_t total = 0;
  for (const Blob& blob : blobs_) total += blob.size_bytes();
  return total;
}

absl::Status Upload::ReadAt(size_t index, uint64_t offset, size_t size, char* data) const {
  size_t done = 0;
  while (done < size) {
    const ssize_t count = pread(files_[index]->descriptor(), data + done, size - done,
                                static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      return Error(ERROR_REASON_FILE_ACCESS,
                   absl::StrCat("cannot read ", files_[index]->path(), " at ", offset + done, ": ",
                                count < 0 ? strerror(errno) : "the file became shorter"))
          .With("path", files_[index]->path())
          .Remedy("leave the file alone while it is sent, and start again");
    }
    done += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Upload::Hash() const {
  std::vector<std::string> digests;
  std::string block;
  for (size_t i = 0; i < files_.size(); ++i) {
    Sha256 sha256;
    const uint64_t size = blobs_[i].size_bytes();
    for (uint64_t offset = 0; offset < size && !abandoned_; offset += block.size()) {
      block.resize(std::min<uint64_t>(kHashBlockBytes, size - offset));
      MP_RETURN_IF_ERROR(ReadAt(i, offset, block.size(), block.data()));
      sha256.Update(std::as_bytes(std::span(block)));
    }
    digests.push_back(sha256.FinishHex());
  }
  return digests;
}

void Upload::StartHashing() {
  if (hashing_) return;
  hashing_ = true;
  hasher_ = std::thread([this] { digests_ = Hash(); });
}

Upload::~Upload() { Rehash(); }

absl::Status Upload::Read(size_t index, uint64_t offset, size_t max_bytes, Chunk* chunk) {
  StartHashing();
  const size_t size = std::min<uint64_t>(max_bytes, blobs_[index].size_bytes() - offset);
  std::string& data = *chunk->mutable_data();
  data.resize(size);
  MP_RETURN_IF_ERROR(ReadAt(index, offset, size, data.data()));
  chunk->set_blob_id(blobs_[index].blob_id());
  chunk->set_offset(offset);
  chunk->set_crc32c(static_cast<uint32_t>(absl::ComputeCrc32c(data)));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Upload::Digests() {
  StartHashing();
  if (hasher_.joinable()) hasher_.join();
  return digests_;
}

void Upload::Rehash() {
  abandoned_ = true;
  if (hasher_.joinable()) hasher_.join();
  abandoned_ = hashing_ = false;
}

}  // namespace modelpress
