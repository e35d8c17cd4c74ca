// A ZIP archive in memory that nobody vouches for: its entries are checked before anything is read.
//
// Names are plain relative paths, each once; entries are stored or deflated, not encrypted, lie within the archive and do
// not overlap (Fifield, "A better zip bomb", 2019), and none claims to expand by more than deflate can. Stored entries are
// used where they lie. Thread-safe after Open.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "core/base/status.h"
#include "core/base/zip_source.h"

namespace modelpress {

class ZipArchive {
 public:
  struct Entry {
    uint64_t index = 0;
    // Of the stored bytes within the archive; 0 for empty entries.
    uint64_t offset = 0;
    uint64_t stored_size = 0;
    uint64_t size = 0;
    bool compressed = false;
  };

  // `bytes` outlive the archive. Errors have the given reason and start with `label`.
  static absl::StatusOr<std::unique_ptr<ZipArchive>> Open(std::span<const std::byte> bytes,
                                                          ErrorReason reason, std::string label);

  // Files by name; folders are left out.
  const std::map<std::string, Entry, std::less<>>& entries() const { return entries_; }
  // Null if there is none of that name.
  const Entry* Find(std::string_view name) const;
  // The bytes of an entry that is not compressed.
  std::span<const std::byte> Stored(const Entry& entry) const {
    return source_.bytes().subspan(entry.offset, entry.size);
  }
  // The entry's content into `out`, which has its size; compressed or not. Its checksum is checked.
  absl::Status Expand(std::string_view name, const Entry& entry, std::span<std::byte> out) const;

 private:
  ZipArchive(std::span<const std::byte> bytes, ErrorReason reason, std::string label)
      : source_(bytes), reason_(reason), label_(std::move(label)) {}
  absl::Status Load();
  absl::Status AddEntry(uint64_t index);
  absl::Status CheckOverlaps() const;
  Error Bad(std::string_view what) const;

  mutable std::mutex mutex_;  // libzip's archives are not thread-safe
  ZipSource source_;
  ErrorReason reason_;
  std::string label_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace modelpress
