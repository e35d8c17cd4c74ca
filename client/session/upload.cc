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

constexpr size_t kHashBlockBytes = 1 << 20;

}  // namespace

void Upload::Add(Blob::Role role, std::string name, std::shared_ptr<const MappedFile> file) {
  Blob blob;
  blob.set_blob_id(static_cast<uint32_t>(blobs_.size() + 1));
  blob.set_role(role);
  blob.set_name(std::move(name));
  blob.set_size_bytes(file->size());
  blobs_.push_back(std::move(blob));
  files_.push_back(std::move(file));
  hashes_.push_back(std::make_unique<Hash>());
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

void Upload::AddToHash(size_t index, uint64_t offset, std::string_view bytes) {
  Hash& hash = *hashes_[index];
  if (offset > hash.hashed || offset + bytes.size() <= hash.hashed) return;
  bytes.remove_prefix(hash.hashed - offset);
  hash.sha256.Update(std::as_bytes(std::span(bytes)));
  hash.hashed += bytes.size();
}

absl::Status Upload::HashUpTo(size_t index, uint64_t end) {
  std::string block;
  while (hashes_[index]->hashed < end) {
    const uint64_t offset = hashes_[index]->hashed;
    block.resize(std::min<uint64_t>(kHashBlockBytes, end - offset));
    MP_RETURN_IF_ERROR(ReadAt(index, offset, block.size(), block.data()));
    AddToHash(index, offset, block);
  }
  return absl::OkStatus();
}

absl::Status Upload::Read(size_t index, uint64_t offset, size_t max_bytes, Chunk* chunk) {
  MP_RETURN_IF_ERROR(HashUpTo(index, offset));
  const size_t size = std::min<uint64_t>(max_bytes, blobs_[index].size_bytes() - offset);
  std::string& data = *chunk->mutable_data();
  data.resize(size);
  MP_RETURN_IF_ERROR(ReadAt(index, offset, size, data.data()));
  AddToHash(index, offset, data);
  chunk->set_blob_id(blobs_[index].blob_id());
  chunk->set_offset(offset);
  chunk->set_crc32c(static_cast<uint32_t>(absl::ComputeCrc32c(data)));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Upload::Digests() {
  std::vector<std::string> digests;
  for (size_t i = 0; i < blobs_.size(); ++i) {
    MP_RETURN_IF_ERROR(HashUpTo(i, blobs_[i].size_bytes()));
    Hash& hash = *hashes_[i];
    if (hash.digest.empty()) hash.digest = hash.sha256.FinishHex();
    digests.push_back(hash.digest);
  }
  return digests;
}

void Upload::Rehash() {
  for (auto& hash : hashes_) hash = std::make_unique<Hash>();
}

}  // namespace modelpress
