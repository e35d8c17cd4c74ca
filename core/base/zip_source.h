// Reading a ZIP archive that lies in memory, and learning where its entries lie: libzip over a source of ours that notes
// the place of each read. (libzip tells an entry's size but not its place.)
#pragma once

#include <zip.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/statusor.h"

namespace modelpress {

class ZipSource {
 public:
  // `archive` outlives this.
  explicit ZipSource(std::span<const std::byte> archive) : archive_(archive) {}
  ~ZipSource();
  ZipSource(const ZipSource&) = delete;
  ZipSource& operator=(const ZipSource&) = delete;

  // Opens and checks the archive; DATA_INVALID with libzip's message.
  absl::Status Open();
  zip_t* archive() const { return zip_; }
  std::span<const std::byte> bytes() const { return archive_; }
  // Where the (possibly compressed) bytes of an entry of at least one byte begin. Not thread-safe.
  absl::StatusOr<uint64_t> DataOffset(uint64_t index);

 private:
  static zip_int64_t Callback(void* self, void* data, zip_uint64_t length,
                              zip_source_cmd_t command);
  zip_int64_t Serve(void* data, zip_uint64_t length, zip_source_cmd_t command);

  std::span<const std::byte> archive_;
  zip_t* zip_ = nullptr;
  zip_error_t error_ = {};
  uint64_t position_ = 0;
  // Place of the latest read.
  uint64_t read_at_ = 0;
};

}  // namespace modelpress
