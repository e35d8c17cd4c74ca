// Room for new weights in mapped scratch files: see WeightArena in model.h.
#include <algorithm>

#include "core/base/status.h"
#include "core/model/model.h"

namespace modelpress {
namespace {

constexpr uint64_t kFileBytes = 64 << 20;
constexpr uint64_t kAlignment = 64;

}  // namespace

absl::StatusOr<WeightArena::Room> WeightArena::Allocate(uint64_t length) {
  std::lock_guard lock(mutex_);
  const uint64_t begin = (used_ + kAlignment - 1) / kAlignment * kAlignment;
  if (file_ == nullptr || begin > file_->size() || length > file_->size() - begin) {
    MP_ASSIGN_OR_RETURN(std::shared_ptr<MappedFile> file,
                        scratch_->NewFile(std::max(kFileBytes, length)));
    // A request of its own size leaves nothing over: keep filling the shared file.
    if (length >= kFileBytes && file_ != nullptr) {
      return Room{file->mutable_bytes().first(length), {file, 0, length}};
    }
    file_ = std::move(file);
    used_ = length;
    return Room{file_->mutable_bytes().first(length), {file_, 0, length}};
  }
  used_ = begin + length;
  return Room{file_->mutable_bytes().subspan(begin, length), {file_, begin, length}};
}

}  // namespace modelpress
