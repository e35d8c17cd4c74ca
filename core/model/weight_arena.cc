// Room for new weights in mapped scratch files: see WeightArena in model.h.
#include <algorithm>

#include "core/base/status.h"
#include "core/model/model.h"

namespace modelpress {
namespace {

// Each file is twice as large as the one before, within these bounds: few files (each costs a descriptor), and little left
// over for small models.
constexpr uint64_t kSmallestFileBytes = 256 << 10;
constexpr uint64_t kLargestFileBytes = 64 << 20;
// The part of what is left of the scratch folder's quota that room for later weights may take.
constexpr uint64_t kQuotaShare = 4;
constexpr uint64_t kAlignment = 64;

}  // namespace

absl::StatusOr<WeightArena::Room> WeightArena::Allocate(uint64_t length) {
  std::lock_guard lock(mutex_);
  const uint64_t begin = (used_ + kAlignment - 1) / kAlignment * kAlignment;
  if (file_ == nullptr || begin > file_->size() || length > file_->size() - begin) {
    uint64_t ahead =
        std::clamp(file_ == nullptr ? 0 : 2 * file_->size(), kSmallestFileBytes, kLargestFileBytes);
    if (const uint64_t quota = scratch_->quota_bytes(); quota != 0) {
      ahead = std::min(ahead, (quota - std::min(quota, scratch_->used_bytes())) / kQuotaShare);
    }
    MP_ASSIGN_OR_RETURN(std::shared_ptr<MappedFile> file,
                        scratch_->NewFile(std::max({ahead, length, kAlignment})));
    // A request of its own size leaves nothing over: keep filling the shared file.
    if (length >= ahead && file_ != nullptr) {
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
