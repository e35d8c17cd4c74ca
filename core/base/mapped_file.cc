// Memory-mapped files: see mapped_file.h.
#include "core/base/mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits>
#include <string_view>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

Error AccessError(std::string_view action, const std::string& path, int error) {
  return Error(ERROR_REASON_FILE_ACCESS,
               FormatString("cannot {} {}: {}", action, path, strerror(error)))
      .With("path", path);
}

absl::StatusOr<std::byte*> Map(int descriptor, uint64_t size, int protection,
                               const std::string& path) {
  if (size == 0) return nullptr;
  void* data = mmap(nullptr, size, protection, MAP_SHARED, descriptor, 0);
  if (data == MAP_FAILED) return AccessError("map", path, errno);
  return static_cast<std::byte*>(data);
}

}  // namespace

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::OpenForReading(
    const std::string& path) {
  auto file = std::shared_ptr<MappedFile>(new MappedFile);
  file->path_ = path;
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  file->descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file->descriptor_ < 0) return AccessError("open", path, errno);
  struct stat info;
  if (fstat(file->descriptor_, &info) != 0) return AccessError("examine", path, errno);
  if (!S_ISREG(info.st_mode)) {
    return Error(ERROR_REASON_FILE_ACCESS, FormatString("{} is not a regular file", path))
        .With("path", path);
  }
  file->size_ = static_cast<uint64_t>(info.st_size);
  MP_ASSIGN_OR_RETURN(file->data_, Map(file->descriptor_, file->size_, PROT_READ, path));
  return file;
}

absl::StatusOr<std::shared_ptr<MappedFile>> MappedFile::Create(const std::string& path,
                                                               uint64_t size) {
  auto file = std::shared_ptr<MappedFile>(new MappedFile);
  file->path_ = path;
  if (size > static_cast<uint64_t>(std::numeric_limits<off_t>::max())) {
    return Error(ERROR_REASON_DISK_FULL, FormatString("a file of {} bytes is impossible", size));
  }
  file->descriptor_ = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file->descriptor_ < 0) return AccessError("create", path, errno);
  if (size > 0) {
    // Reserves the blocks: writing to a hole through a mapping on a full disk would be a SIGBUS.
    const int error = posix_fallocate(file->descriptor_, 0, static_cast<off_t>(size));
    if (error != 0) {
      unlink(path.c_str());
      return Error(ERROR_REASON_DISK_FULL,
                   FormatString("cannot reserve {} bytes for {}: {}", size, path, strerror(error)))
          .With("needed", std::to_string(size))
          .With("errno", std::to_string(error))
          .Remedy("free space on that disk or use another scratch or output folder");
    }
  }
  file->size_ = size;
  MP_ASSIGN_OR_RETURN(file->data_, Map(file->descriptor_, size, PROT_READ | PROT_WRITE, path));
  return file;
}

absl::StatusOr<std::shared_ptr<MappedFile>> MappedFile::CreateUnnamed(const std::string& folder,
                                                                      uint64_t size) {
  // Not O_TMPFILE: overlay file systems of older kernels refuse it.
  std::string path = folder + "/scratch-XXXXXX";
  const int descriptor = mkostemp(path.data(), O_CLOEXEC);
  if (descriptor < 0) return AccessError("create", path, errno);
  close(descriptor);
  unlink(path.c_str());
  MP_ASSIGN_OR_RETURN(std::shared_ptr<MappedFile> file, Create(path, size));
  unlink(path.c_str());
  return file;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, size_);
  if (descriptor_ >= 0) close(descriptor_);
}

void MappedFile::DropRange(uint64_t offset, uint64_t length) const {
  const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t begin = (offset + page - 1) / page * page;
  const uint64_t end = (offset + length) / page * page;
  if (data_ != nullptr && begin < end && end <= size_) {
    madvise(data_ + begin, end - begin, MADV_DONTNEED);
  }
}

}  // namespace modelpress
