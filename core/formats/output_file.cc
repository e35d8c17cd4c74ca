// Files being written: see output_file.h.
#include "core/formats/output_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "core/base/format_string.h"
#include "core/base/sha256.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

// Small enough that the digest finds the bytes in the cache, large enough that handing them over costs nothing.
constexpr size_t kChunkBytes = 1 << 20;
// How far writing may run ahead of the digest.
constexpr size_t kMaxQueued = 8;

absl::Status WriteError(const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  return Error(full ? ERROR_REASON_DISK_FULL : ERROR_REASON_FILE_ACCESS,
               FormatString("cannot write {}: {}", path, strerror(error)))
      .With("path", path)
      .With("errno", std::to_string(error))
      .Remedy(full ? "free space on that disk or write to another one"
                   : "check that the folder exists and may be written to");
}

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

// Hashes queued chunks in order on its own thread.
class OutputFile::Digest {
 public:
  Digest() : thread_([this] { Work(); }) {}
  ~Digest() { Stop(); }

  void Add(std::span<const std::byte> bytes) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return queue_.size() < kMaxQueued; });
    queue_.push_back(bytes);
    changed_.notify_all();
  }

  std::string Finish() {
    Stop();
    return hash_.FinishHex();
  }

 private:
  void Stop() {
    {
      std::lock_guard lock(mutex_);
      ended_ = true;
      changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }

  void Work() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [&] { return ended_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const std::span<const std::byte> bytes = queue_.front();
      lock.unlock();
      hash_.Update(bytes);
      lock.lock();
      queue_.pop_front();
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::span<const std::byte>> queue_;
  bool ended_ = false;
  Sha256 hash_;
  std::thread thread_;  // last: it uses all of the above
};

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& folder,
                                                               uint64_t size,
                                                               const Cancellation* cancellation) {
  static std::atomic<uint64_t> counter = 0;
  std::unique_ptr<OutputFile> file(new OutputFile);
  file->folder_ = folder.empty() ? "." : folder;
  file->cancellation_ = cancellation;
  // Not mkstemp, which would leave the result readable by its owner only; the umask decides.
  for (int attempt = 0; file->descriptor_ < 0; ++attempt) {
    const std::string path =
        FormatString("{}/.modelpress-{}-{}.tmp", file->folder_, getpid(), counter++);
    file->descriptor_ = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file->descriptor_ >= 0) {
      file->temporary_path_ = path;
    } else if (errno != EEXIST || attempt == 1000) {
      return WriteError(path, errno);
    }
  }
  // A full disk is known before the first byte. File systems without the call find out while writing.
  if (size > 0 &&
      fallocate(file->descriptor_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    return WriteError(file->temporary_path_, errno);
  }
  file->digest_ = std::make_unique<Digest>();
  return file;
}

OutputFile::~OutputFile() {
  digest_.reset();
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_path_.empty()) unlink(temporary_path_.c_str());
}

absl::Status OutputFile::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (cancellation_ != nullptr) MP_RETURN_IF_ERROR(cancellation_->Check());
    const std::span<const std::byte> chunk = bytes.first(std::min(bytes.size(), kChunkBytes));
    digest_->Add(chunk);
    for (std::span<const std::byte> left = chunk; !left.empty();) {
      const ssize_t written = write(descriptor_, left.data(), left.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return WriteError(temporary_path_, errno);
      left = left.subspan(static_cast<size_t>(written));
      size_ += static_cast<uint64_t>(written);
    }
    bytes = bytes.subspan(chunk.size());
  }
  return absl::OkStatus();
}

absl::Status OutputFile::AppendZeros(uint64_t count) {
  static constexpr std::array<std::byte, 4096> kZeros = {};
  while (count > 0) {
    const uint64_t now = std::min<uint64_t>(count, kZeros.size());
    MP_RETURN_IF_ERROR(Append(std::span(kZeros).first(now)));
    count -= now;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> OutputFile::Finish() {
  std::string hex = digest_->Finish();
  digest_.reset();
  // Gives back what was reserved but not used.
  if (ftruncate(descriptor_, static_cast<off_t>(size_)) != 0) {
    return WriteError(temporary_path_, errno);
  }
  return hex;
}

absl::Status OutputFile::Publish(const std::string& name) {
  const auto start = std::chrono::steady_clock::now();
  if (fsync(descriptor_) != 0) return WriteError(temporary_path_, errno);
  sync_seconds_ = SecondsSince(start);
  const std::string path = folder_ + "/" + name;
  if (rename(temporary_path_.c_str(), path.c_str()) != 0) return WriteError(path, errno);
  temporary_path_.clear();
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& folder) {
  const std::string path = folder.empty() ? "." : folder;
  const int descriptor = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return WriteError(path, errno);
  const int result = fsync(descriptor);
  const int error = errno;
  close(descriptor);
  // Some file systems cannot sync a folder; the files themselves are synced.
  if (result != 0 && error != EINVAL) return WriteError(path, error);
  return absl::OkStatus();
}

}  // namespace modelpress
