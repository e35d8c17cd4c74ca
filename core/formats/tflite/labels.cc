// Files that were appended to a TensorFlow Lite file: see labels.h.
#include "core/formats/tflite/labels.h"

#include <zip.h>

#include <algorithm>
#include <string_view>

namespace modelpress::tflite {
namespace {

constexpr uint64_t kMaxText = 1 << 20;
constexpr zip_int64_t kMaxFiles = 64;
// An archive ends in a record of 22 bytes with a comment of at most 64 KiB.
constexpr size_t kTail = 22 + 65535;

}  // namespace

std::vector<AppendedFile> AppendedFiles(std::span<const std::byte> bytes) {
  std::vector<AppendedFile> files;
  const auto tail = bytes.last(std::min(bytes.size(), kTail));
  const std::string_view end(reinterpret_cast<const char*>(tail.data()), tail.size());
  if (!end.contains("PK\x05\x06")) return files;
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  zip_t* archive = source == nullptr ? nullptr : zip_open_from_source(source, ZIP_RDONLY, &error);
  if (archive == nullptr) {
    if (source != nullptr) zip_source_free(source);
    zip_error_fini(&error);
    return files;
  }
  const zip_int64_t count = std::min<zip_int64_t>(zip_get_num_entries(archive, 0), kMaxFiles);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t stat;
    if (zip_stat_index(archive, static_cast<zip_uint64_t>(i), 0, &stat) != 0 ||
        stat.name == nullptr)
      continue;
    AppendedFile& file = files.emplace_back();
    file.name = stat.name;
    if (!file.name.ends_with(".txt") || (stat.valid & ZIP_STAT_SIZE) == 0 || stat.size > kMaxText)
      continue;
    zip_file_t* entry = zip_fopen_index(archive, static_cast<zip_uint64_t>(i), 0);
    if (entry == nullptr) continue;
    file.text.resize(stat.size);
    const zip_int64_t read = zip_fread(entry, file.text.data(), file.text.size());
    file.text.resize(static_cast<size_t>(std::max<zip_int64_t>(read, 0)));
    zip_fclose(entry);
  }
  zip_discard(archive);
  zip_error_fini(&error);
  return files;
}

}  // namespace modelpress::tflite
