// Writing data folders as ZIP; see zip_writer.h.
#include "core/data/zip_writer.h"

#include <zip.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"

namespace modelpress {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFiles = 1'000'000;
// 1980-01-01, the first time a ZIP can hold.
constexpr zip_uint16_t kDosTime = 0;
constexpr zip_uint16_t kDosDate = 0x21;
// The mode stands in the upper half: a regular file, 0644.
constexpr zip_uint32_t kRegularFile = 0100644u << 16;

struct Discard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};

absl::StatusOr<std::vector<std::string>> FilesBelow(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::recursive_directory_iterator entry(folder, error);
  for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
    const bool hidden = entry->path().filename().string().starts_with(".");
    if (hidden) {
      entry.disable_recursion_pending();
      continue;
    }
    std::error_code ignored;
    if (!fs::is_regular_file(entry->symlink_status(ignored))) continue;
    names.push_back(entry->path().lexically_relative(folder).generic_string());
    if (names.size() > kMaxFiles) {
      return Error(ERROR_REASON_DATA_INVALID, absl::StrCat(folder, " holds more than ", kMaxFiles, " files"))
          .Remedy("put the samples of an input into one array");
    }
  }
  if (error) {
    return Error(ERROR_REASON_FILE_ACCESS, absl::StrCat("cannot read the folder ", folder, ": ", error.message()))
        .With("path", folder)
        .Remedy("check the path given to --data");
  }
  if (names.empty()) {
    return Error(ERROR_REASON_DATA_INVALID, absl::StrCat(folder, " holds no samples"))
        .Remedy("put <input>.npy files there, or in a folder per split");
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status ZipError(zip_error_t* error, const std::string& path) {
  const bool full = zip_error_system_type(error) == ZIP_ET_SYS && zip_error_code_system(error) == ENOSPC;
  return Error(full ? ERROR_REASON_DISK_FULL : ERROR_REASON_FILE_ACCESS,
               absl::StrCat("cannot pack the data into ", path, ": ", zip_error_strerror(error)))
      .With("path", path)
      .Remedy(full ? "make room, or set TMPDIR to a folder on another disk" : "check that every file can be read");
}

}  // namespace

absl::Status WriteStoredZip(const std::string& folder, const std::string& path) {
  MP_ASSIGN_OR_RETURN(const std::vector<std::string> names, FilesBelow(folder));
  int code = 0;
  std::unique_ptr<zip_t, Discard> archive(zip_open(path.c_str(), ZIP_CREATE | ZIP_TRUNCATE, &code));
  if (archive == nullptr) {
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    absl::Status status = ZipError(&error, path);
    zip_error_fini(&error);
    return status;
  }
  for (const std::string& name : names) {
    const std::string file = absl::StrCat(folder, "/", name);
    zip_source_t* source = zip_source_file(archive.get(), file.c_str(), 0, -1);
    if (source == nullptr) return ZipError(zip_get_error(archive.get()), file);
    const zip_int64_t index = zip_file_add(archive.get(), name.c_str(), source, ZIP_FL_ENC_UTF_8);
    if (index < 0) {
      zip_source_free(source);
      return ZipError(zip_get_error(archive.get()), file);
    }
    const auto entry = static_cast<zip_uint64_t>(index);
    if (zip_set_file_compression(archive.get(), entry, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(archive.get(), entry, kDosTime, kDosDate, 0) != 0 ||
        zip_file_set_external_attributes(archive.get(), entry, 0, ZIP_OPSYS_UNIX, kRegularFile) != 0) {
      return ZipError(zip_get_error(archive.get()), file);
    }
  }
  // Only now are the files read.
  if (zip_close(archive.get()) != 0) return ZipError(zip_get_error(archive.get()), path);
  archive.release();  // freed by zip_close
  return absl::OkStatus();
}

}  // namespace modelpress
