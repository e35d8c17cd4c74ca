// Writing data folders as ZIP; see zip_writer.h.
#include "core/data/zip_writer.h"

#include <zip.h>

#include <cerrno>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/data/file_tree.h"

namespace modelpress {
namespace {

// 1980-01-01, the first time a ZIP can hold.
constexpr zip_uint16_t kDosTime = 0;
constexpr zip_uint16_t kDosDate = 0x21;
// The mode stands in the upper half: a regular file, 0644.
constexpr zip_uint32_t kRegularFile = 0100644u << 16;

struct Discard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};

absl::Status ZipError(zip_error_t* error, const std::string& path) {
  const bool full =
      zip_error_system_type(error) == ZIP_ET_SYS && zip_error_code_system(error) == ENOSPC;
  return Error(full ? ERROR_REASON_DISK_FULL : ERROR_REASON_FILE_ACCESS,
               absl::StrCat("cannot pack the data into ", path, ": ", zip_error_strerror(error)))
      .With("path", path)
      .Remedy(full ? "make room, or set TMPDIR to a folder on another disk"
                   : "check that every file can be read");
}

}  // namespace

absl::Status WriteStoredZip(const std::string& folder, const std::string& path) {
  MP_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDataFiles(folder));
  if (names.empty()) {
    return Error(ERROR_REASON_DATA_INVALID, absl::StrCat(folder, " holds no samples"))
        .Remedy("put <input>.npy files there, or in a folder per split");
  }
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
        zip_file_set_external_attributes(archive.get(), entry, 0, ZIP_OPSYS_UNIX, kRegularFile) !=
            0) {
      return ZipError(zip_get_error(archive.get()), file);
    }
  }
  // Only now are the files read.
  if (zip_close(archive.get()) != 0) return ZipError(zip_get_error(archive.get()), path);
  archive.release();  // freed by zip_close
  return absl::OkStatus();
}

}  // namespace modelpress
