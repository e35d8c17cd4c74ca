// libzip over bytes in memory: see zip_source.h.
#include "core/base/zip_source.h"

#include <algorithm>
#include <cstring>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {

ZipSource::~ZipSource() {
  if (zip_ != nullptr) zip_discard(zip_);  // opened read-only: nothing to write
  zip_error_fini(&error_);
}

zip_int64_t ZipSource::Callback(void* self, void* data, zip_uint64_t length,
                                zip_source_cmd_t command) {
  return static_cast<ZipSource*>(self)->Serve(data, length, command);
}

// The commands of zip_source_function(3) for a seekable, read-only source.
zip_int64_t ZipSource::Serve(void* data, zip_uint64_t length, zip_source_cmd_t command) {
  const std::span<const std::byte> bytes = archive_;
  switch (command) {
    case ZIP_SOURCE_SUPPORTS:
      return zip_source_make_command_bitmap(
          ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
          ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS, -1);
    case ZIP_SOURCE_OPEN:
      position_ = 0;
      return 0;
    case ZIP_SOURCE_READ: {
      const uint64_t count = std::min<uint64_t>(length, bytes.size() - position_);
      if (count > 0) std::memcpy(data, bytes.data() + position_, count);
      read_at_ = position_;
      position_ += count;
      return static_cast<zip_int64_t>(count);
    }
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
      return 0;
    case ZIP_SOURCE_STAT: {
      auto* stat = static_cast<zip_stat_t*>(data);
      zip_stat_init(stat);
      stat->size = bytes.size();
      stat->valid |= ZIP_STAT_SIZE;
      return sizeof(zip_stat_t);
    }
    case ZIP_SOURCE_ERROR:
      return zip_error_to_data(&error_, data, length);
    case ZIP_SOURCE_SEEK: {
      const zip_int64_t target =
          zip_source_seek_compute_offset(position_, bytes.size(), data, length, &error_);
      if (target < 0) return -1;
      position_ = static_cast<uint64_t>(target);
      return 0;
    }
    case ZIP_SOURCE_TELL:
      return static_cast<zip_int64_t>(position_);
    default:
      zip_error_set(&error_, ZIP_ER_OPNOTSUPP, 0);
      return -1;
  }
}

absl::Status ZipSource::Open() {
  zip_error_t error;
  zip_error_init(&error);
  zip_error_init(&error_);
  zip_source_t* source = zip_source_function_create(&ZipSource::Callback, this, &error);
  if (source != nullptr) {
    zip_ = zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error);
    if (zip_ == nullptr) zip_source_free(source);
  }
  absl::Status status;
  if (zip_ == nullptr) {
    status = Error(ERROR_REASON_DATA_INVALID,
                   FormatString("the archive cannot be read: {}", zip_error_strerror(&error)));
  }
  zip_error_fini(&error);
  return status;
}

absl::StatusOr<uint64_t> ZipSource::DataOffset(uint64_t index) {
  zip_file_t* file = zip_fopen_index(zip_, index, ZIP_FL_COMPRESSED);
  char first;
  const bool read = file != nullptr && zip_fread(file, &first, 1) == 1;
  const uint64_t offset = read_at_;
  if (file != nullptr) zip_fclose(file);
  if (!read) {
    return Error(ERROR_REASON_DATA_INVALID,
                 FormatString("entry {} of the archive cannot be read", index));
  }
  return offset;
}

}  // namespace modelpress
