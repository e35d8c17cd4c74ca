// The scratch folder and its quota: see scratch.h.
#include "core/base/scratch.h"

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"

namespace modelpress {

namespace fs = std::filesystem;

struct Scratch::Usage {
  std::mutex mutex;
  uint64_t bytes = 0;
};

Scratch::Scratch(std::string folder, uint64_t quota_bytes, bool remove_at_end)
    : folder_(std::move(folder)),
      quota_bytes_(quota_bytes),
      remove_at_end_(remove_at_end),
      usage_(std::make_shared<Usage>()) {}

absl::StatusOr<std::unique_ptr<Scratch>> Scratch::Open(const std::string& folder,
                                                       uint64_t quota_bytes, bool wipe) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error && wipe) {
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      if (error) break;
      fs::remove_all(entry.path(), error);
    }
  }
  if (error) {
    return Error(ERROR_REASON_FILE_ACCESS,
                 FormatString("cannot use the scratch folder {}: {}", folder, error.message()))
        .With("path", folder)
        .Remedy("name a folder that this user can write to");
  }
  return std::unique_ptr<Scratch>(new Scratch(folder, quota_bytes, /*remove_at_end=*/false));
}

absl::StatusOr<std::unique_ptr<Scratch>> Scratch::Temporary(uint64_t quota_bytes) {
  const char* base = getenv("TMPDIR");
  std::string folder =
      std::string(base != nullptr && *base != '\0' ? base : "/tmp") + "/modelpress-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) {
    return Error(ERROR_REASON_FILE_ACCESS, "cannot make a folder like " + folder)
        .With("path", folder)
        .Remedy("set TMPDIR to a folder that this user can write to");
  }
  return std::unique_ptr<Scratch>(new Scratch(folder, quota_bytes, /*remove_at_end=*/true));
}

Scratch::~Scratch() {
  if (!remove_at_end_) return;
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

absl::StatusOr<std::shared_ptr<MappedFile>> Scratch::NewFile(uint64_t size) {
  {
    std::lock_guard lock(usage_->mutex);
    const uint64_t available = quota_bytes_ - std::min(usage_->bytes, quota_bytes_);
    if (quota_bytes_ != 0 && size > available) {
      return Error(ERROR_REASON_SCRATCH_FULL,
                   FormatString("the job needs {} more bytes of scratch space but {} are left of "
                                "its quota",
                                size, available))
          .With("needed", std::to_string(size))
          .With("available", std::to_string(available));
    }
    usage_->bytes += size;
  }
  absl::StatusOr<std::shared_ptr<MappedFile>> file = MappedFile::CreateUnnamed(folder_, size);
  // The last reference gives the bytes back, also if it outlives this object.
  auto release = [usage = usage_, size] {
    std::lock_guard lock(usage->mutex);
    usage->bytes -= size;
  };
  if (!file.ok()) {
    release();
    return file.status();
  }
  MappedFile* raw = file->get();
  return std::shared_ptr<MappedFile>(raw, [held = *std::move(file), release](MappedFile*) mutable {
    held.reset();
    release();
  });
}

uint64_t Scratch::used_bytes() const {
  std::lock_guard lock(usage_->mutex);
  return usage_->bytes;
}

}  // namespace modelpress
