// Publishing results; see output_files.h.
#include "client/job/output_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace modelpress {
namespace {

absl::Status FileError(const std::string& what, const std::string& path,
                       const std::string& remedy) {
  const int code = errno;
  return Error(code == ENOSPC || code == EDQUOT ? ERROR_REASON_DISK_FULL : ERROR_REASON_FILE_ACCESS,
               absl::StrCat("cannot ", what, " ", path, ": ", strerror(code)))
      .With("path", path)
      .Remedy(remedy);
}

absl::Status OutputExists(const std::string& path) {
  return Error(ERROR_REASON_OUTPUT_EXISTS, absl::StrCat(path, " exists"))
      .With("path", path)
      .Remedy("choose another name, or replace it with --force");
}

absl::Status SyncFolder(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // Some file systems cannot sync folders; the files themselves are synced.
  if (descriptor < 0) return absl::OkStatus();
  const int result = fsync(descriptor);
  close(descriptor);
  if (result != 0 && errno != EINVAL) return FileError("sync", path, "look at the disk");
  return absl::OkStatus();
}

// Moves; with `replace` false never over a file that is there, also if it came just now.
int Move(const std::string& from, const std::string& to, bool replace) {
  if (replace) return rename(from.c_str(), to.c_str());
  const int result = renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE);
  // Not every file system knows the flag.
  return result != 0 && (errno == EINVAL || errno == ENOSYS) ? rename(from.c_str(), to.c_str())
                                                             : result;
}

}  // namespace

OutputFiles::OutputFiles(std::string parent, std::string name, std::string folder, bool force)
    : parent_(std::move(parent)),
      name_(std::move(name)),
      folder_(std::move(folder)),
      force_(force),
      guard_(folder_) {}

absl::StatusOr<std::unique_ptr<OutputFiles>> OutputFiles::Prepare(const std::string& path,
                                                                  bool force) {
  const std::filesystem::path target(path);
  const std::string name = target.filename().string();
  std::string parent = target.parent_path().string();
  if (parent.empty()) parent = ".";
  if (name.empty() || name == "." || name == "..") {
    return Error(ERROR_REASON_FILE_ACCESS,
                 absl::StrCat("the output \"", path, "\" is not a file name"))
        .With("path", path)
        .Remedy("give the file to write, such as out/model.onnx");
  }
  std::error_code ignored;
  if (std::filesystem::is_directory(target, ignored)) {
    return Error(ERROR_REASON_FILE_ACCESS, absl::StrCat(path, " is a folder"))
        .With("path", path)
        .Remedy("give the file to write, such as " + path + "/model.onnx");
  }
  if (!force && std::filesystem::exists(std::filesystem::symlink_status(target, ignored))) {
    return OutputExists(path);
  }
  std::string folder = absl::StrCat(parent, "/.", name.substr(0, 200), ".XXXXXX");
  if (mkdtemp(folder.data()) == nullptr) {
    return FileError("write to the folder", parent,
                     "choose a folder that exists and that you may write to");
  }
  return std::unique_ptr<OutputFiles>(new OutputFiles(parent, name, folder, force));
}

OutputFiles::~OutputFiles() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

absl::Status OutputFiles::Publish(const google::protobuf::RepeatedPtrField<ArtifactFile>& files) {
  for (int i = files.size() - 1; i >= 0; --i) {
    const bool main = i == 0;
    const std::string to = absl::StrCat(parent_, "/", main ? name_ : files[i].name());
    const std::string from = absl::StrCat(folder_, "/", files[i].name());
    if (Move(from, to, !main || force_) != 0) {
      if (errno == EEXIST) return OutputExists(to);
      return FileError("write", to, "choose a folder that you may write to");
    }
  }
  return SyncFolder(parent_);
}

absl::Status WriteTextFile(const std::string& path, std::string_view text) {
  std::string temporary = absl::StrCat(path, ".XXXXXX");
  const int descriptor = mkostemp(temporary.data(), O_CLOEXEC);
  const std::string remedy = "choose a folder that exists and that you may write to";
  if (descriptor < 0) return FileError("write", path, remedy);
  bool good = fchmod(descriptor, 0644) == 0;
  while (good && !text.empty()) {
    const ssize_t count = write(descriptor, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    good = count >= 0;
    if (good) text.remove_prefix(static_cast<size_t>(count));
  }
  good = good && fsync(descriptor) == 0 && rename(temporary.c_str(), path.c_str()) == 0;
  absl::Status status = good ? absl::OkStatus() : FileError("write", path, remedy);
  close(descriptor);
  if (!good) unlink(temporary.c_str());
  return status;
}

}  // namespace modelpress
