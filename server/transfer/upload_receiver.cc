// Blobs from the network into scratch: see upload_receiver.h.
#include "server/transfer/upload_receiver.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

#include "absl/crc/crc32c.h"
#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

absl::Status DiskError(std::string_view what, int error, uint64_t needed) {
  return Error(ERROR_REASON_DISK_FULL,
               FormatString("the server cannot {}: {}", what, strerror(error)))
      .With("needed", std::to_string(needed))
      .With("errno", std::to_string(error))
      .Remedy("try again later or at another server");
}

absl::Status Stale() { return absl::AbortedError("a newer stream took the job over"); }

}  // namespace

std::shared_ptr<UploadReceiver> UploadReceiver::Begin(std::string folder,
                                                      std::vector<uint64_t> sizes,
                                                      Executor executor) {
  std::shared_ptr<UploadReceiver> upload(
      new UploadReceiver(std::move(folder), std::move(sizes), std::move(executor)));
  upload->write_strand_.Post([upload] { upload->allocated_ = upload->Allocate(); });
  return upload;
}

UploadReceiver::UploadReceiver(std::string folder, std::vector<uint64_t> sizes, Executor executor)
    : folder_(std::move(folder)),
      write_strand_(executor),
      hash_strand_(executor),
      blobs_(sizes.size()) {
  for (size_t i = 0; i < sizes.size(); ++i) {
    blobs_[i].size = sizes[i];
    total_bytes_ += sizes[i];
  }
}

UploadReceiver::~UploadReceiver() { CloseFiles(); }

void UploadReceiver::CloseFiles() {
  for (BlobFile& blob : blobs_) {
    if (blob.descriptor >= 0) close(blob.descriptor);
    blob.descriptor = -1;
  }
}

std::string UploadReceiver::path(size_t index) const {
  return FormatString("{}/{}", folder_, index + 1);
}

absl::Status UploadReceiver::Allocate() {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return DiskError("make a folder for the job", error.value(), total_bytes_);
  for (size_t i = 0; i < blobs_.size(); ++i) {
    BlobFile& blob = blobs_[i];
    blob.descriptor = open(path(i).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (blob.descriptor < 0) return DiskError("make a file for the job", errno, blob.size);
    if (blob.size == 0) continue;
    // Reserved now, so that a full disk is known before the first byte and never a SIGBUS in a reader's mapping.
    const int failed = posix_fallocate(blob.descriptor, 0, static_cast<off_t>(blob.size));
    if (failed != 0) return DiskError("reserve space for the job's files", failed, blob.size);
  }
  return absl::OkStatus();
}

void UploadReceiver::Attach(std::function<void(absl::StatusOr<Attachment>)> done) {
  write_strand_.Post([self = shared_from_this(), done = std::move(done)] {
    if (!self->allocated_.ok()) {
      done(self->allocated_);
      return;
    }
    if (self->state_ == State::kHashing) {
      self->waiting_.push_back([self, done] { self->Attach(done); });
      return;
    }
    Attachment attachment;
    attachment.generation = ++self->generation_;
    for (const BlobFile& blob : self->blobs_) attachment.committed.push_back(blob.committed);
    done(std::move(attachment));
  });
}

void UploadReceiver::Append(uint64_t generation, uint32_t blob_id, uint64_t offset,
                            std::string data, uint32_t crc32c,
                            std::function<void(absl::StatusOr<uint64_t>)> done) {
  write_strand_.Post([self = shared_from_this(), generation, blob_id, offset,
                      data = std::move(data), crc32c, done = std::move(done)]() mutable {
    const absl::StatusOr<uint64_t> committed =
        self->Write(generation, blob_id, offset, data, crc32c);
    if (!committed.ok()) {
      done(committed);
      return;
    }
    bool hold_back = false;
    {
      std::lock_guard lock(self->backlog_mutex_);
      self->hash_backlog_ += data.size();
      hold_back = self->hash_backlog_ > kMaxHashBacklog;
    }
    if (!hold_back) done(committed);
    self->hash_strand_.Post([self, blob_id, committed, data = std::move(data),
                             done = hold_back ? std::move(done) : nullptr] {
      if (!data.empty()) self->blobs_[blob_id - 1].hash->Update(std::as_bytes(std::span(data)));
      {
        std::lock_guard lock(self->backlog_mutex_);
        self->hash_backlog_ -= data.size();
      }
      if (done != nullptr) done(committed);
    });
  });
}

absl::StatusOr<uint64_t> UploadReceiver::Write(uint64_t generation, uint32_t blob_id,
                                               uint64_t offset, const std::string& data,
                                               uint32_t crc32c) {
  MP_RETURN_IF_ERROR(allocated_);
  if (generation != generation_) return Stale();
  if (state_ != State::kReceiving) {
    return Error(ERROR_REASON_PROTOCOL_VIOLATION, "a chunk came after finish_upload");
  }
  if (blob_id == 0 || blob_id > blobs_.size()) {
    return Error(ERROR_REASON_REQUEST_INVALID,
                 FormatString("a chunk names blob {}, but the job declared {}", blob_id,
                              blobs_.size()))
        .With("field", "chunk.blob_id");
  }
  BlobFile& blob = blobs_[blob_id - 1];
  if (offset != blob.committed || data.size() > blob.size - blob.committed) {
    return Error(ERROR_REASON_OFFSET_MISMATCH,
                 FormatString(
                     "a chunk of {} bytes at offset {} of blob {}, which has {} of its {} bytes",
                     data.size(), offset, blob_id, blob.committed, blob.size))
        .With("blob", std::to_string(blob_id))
        .With("expected", std::to_string(blob.committed))
        .With("found", std::to_string(offset))
        .Remedy("go on at the expected offset, within the declared size");
  }
  if (static_cast<uint32_t>(absl::ComputeCrc32c(data)) != crc32c) {
    return Error(ERROR_REASON_CHUNK_CORRUPT,
                 FormatString("the chunk at offset {} of blob {} does not have its CRC-32C", offset,
                              blob_id))
        .With("blob", std::to_string(blob_id))
        .With("offset", std::to_string(offset))
        .Remedy("resume at the committed offset");
  }
  size_t written = 0;
  while (written < data.size()) {
    const ssize_t count = pwrite(blob.descriptor, data.data() + written, data.size() - written,
                                 static_cast<off_t>(offset + written));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      return DiskError("write the job's bytes", count < 0 ? errno : ENOSPC, data.size());
    }
    written += static_cast<size_t>(count);
  }
  blob.committed += data.size();
  return blob.committed;
}

void UploadReceiver::Finish(uint64_t generation, std::vector<std::string> sha256,
                            std::function<void(absl::Status)> done) {
  write_strand_.Post([self = shared_from_this(), generation, sha256 = std::move(sha256),
                      done = std::move(done)]() mutable {
    if (absl::Status status = self->CheckComplete(generation, sha256); !status.ok()) {
      done(status);
      return;
    }
    // Set before the digests are known: no chunk slips in behind them.
    self->state_ = State::kHashing;
    self->hash_strand_.Post([self, sha256 = std::move(sha256), done = std::move(done)]() mutable {
      for (BlobFile& blob : self->blobs_) {
        if (blob.digest.empty()) blob.digest = blob.hash->FinishHex();
      }
      // Back to the strand that owns the files' state.
      self->write_strand_.Post([self, sha256 = std::move(sha256), done = std::move(done)] {
        const absl::Status status = self->CheckDigests(sha256);
        self->state_ = status.ok() ? State::kComplete : State::kReceiving;
        done(status);
        for (Task& task : std::exchange(self->waiting_, {})) task();
      });
    });
  });
}

absl::Status UploadReceiver::CheckComplete(uint64_t generation,
                                           const std::vector<std::string>& sha256) {
  MP_RETURN_IF_ERROR(allocated_);
  if (generation != generation_) return Stale();
  if (state_ != State::kReceiving) {
    return Error(ERROR_REASON_PROTOCOL_VIOLATION, "finish_upload came twice");
  }
  if (sha256.size() != blobs_.size()) {
    return Error(ERROR_REASON_REQUEST_INVALID,
                 FormatString("finish_upload has {} digests for {} blobs", sha256.size(),
                              blobs_.size()))
        .With("field", "finish_upload.sha256");
  }
  for (size_t i = 0; i < blobs_.size(); ++i) {
    if (blobs_[i].committed == blobs_[i].size) continue;
    return Error(ERROR_REASON_UPLOAD_INCOMPLETE,
                 FormatString("finish_upload came after {} of the {} bytes of blob {}",
                              blobs_[i].committed, blobs_[i].size, i + 1))
        .With("blob", std::to_string(i + 1))
        .With("expected", std::to_string(blobs_[i].size))
        .With("found", std::to_string(blobs_[i].committed))
        .Remedy("send the rest, then finish_upload");
  }
  return absl::OkStatus();
}

absl::Status UploadReceiver::CheckDigests(const std::vector<std::string>& sha256) {
  for (size_t i = 0; i < blobs_.size(); ++i) {
    BlobFile& blob = blobs_[i];
    if (blob.digest == sha256[i]) continue;
    const std::string found = std::exchange(blob.digest, "");
    blob.hash.emplace();
    blob.committed = 0;
    return Error(ERROR_REASON_DIGEST_MISMATCH,
                 FormatString("blob {} has another SHA-256 than finish_upload says", i + 1))
        .With("blob", std::to_string(i + 1))
        .With("expected", sha256[i])
        .With("found", found)
        .Remedy("hash the file again and send it once more");
  }
  CloseFiles();
  return absl::OkStatus();
}

}  // namespace modelpress
