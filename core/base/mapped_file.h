// A file mapped into memory. Weights live in these, never on the heap.
//
// Ownership: shared_ptr; whoever holds a reference into the bytes holds the file. The descriptor stays open as long as
// the mapping (the runtime reads weights through /proc/self/fd/N). Thread-safe for reading; writers write to disjoint
// ranges. A file that is truncated by someone else while mapped raises SIGBUS: uploads live in our own scratch folder,
// and jobs of a server run in worker processes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace modelpress {

class MappedFile {
 public:
  // Maps an existing regular file for reading. FILE_ACCESS with the path and errno otherwise.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> OpenForReading(const std::string& path);
  // Creates a file of `size` bytes in `folder`, removes its name at once (a crash leaves nothing), reserves its blocks
  // with posix_fallocate (so that a full disk is DISK_FULL here and never SIGBUS later), and maps it for writing.
  static absl::StatusOr<std::shared_ptr<MappedFile>> CreateUnnamed(const std::string& folder,
                                                                   uint64_t size);
  // The same, named and kept.
  static absl::StatusOr<std::shared_ptr<MappedFile>> Create(const std::string& path, uint64_t size);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // Only for files made by Create and CreateUnnamed.
  std::span<std::byte> mutable_bytes() { return {data_, size_}; }
  uint64_t size() const { return size_; }
  int descriptor() const { return descriptor_; }
  const std::string& path() const { return path_; }
  // Tells the kernel that a range was read and will not be read again soon.
  void DropRange(uint64_t offset, uint64_t length) const;

 private:
  MappedFile() = default;

  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
  int descriptor_ = -1;
  std::string path_;
};

}  // namespace modelpress
