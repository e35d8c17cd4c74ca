// Size after zstd, in parallel frames of fixed size: see CompressedBytes.
#include <zstd.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <vector>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/sizes.h"

namespace modelpress {
namespace {

constexpr uint64_t kFrameBytes = 8 << 20;
constexpr int kLevel = 3;

// What one thread compresses with; kept for the next frame.
struct Compressor {
  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context{ZSTD_createCCtx(), ZSTD_freeCCtx};
  std::vector<std::byte> output = std::vector<std::byte>(ZSTD_compressBound(kFrameBytes));
};

class Compressors {
 public:
  std::unique_ptr<Compressor> Take() {
    std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<Compressor>();
    std::unique_ptr<Compressor> compressor = std::move(free_.back());
    free_.pop_back();
    return compressor;
  }
  void Give(std::unique_ptr<Compressor> compressor) {
    std::lock_guard lock(mutex_);
    free_.push_back(std::move(compressor));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Compressor>> free_;
};

}  // namespace

absl::StatusOr<uint64_t> CompressedBytes(
    const std::vector<std::shared_ptr<const MappedFile>>& files, const JobContext& context) {
  std::vector<std::span<const std::byte>> frames;
  for (const auto& file : files) {
    for (uint64_t offset = 0; offset < file->size(); offset += kFrameBytes) {
      frames.push_back(file->bytes().subspan(offset, std::min(kFrameBytes, file->size() - offset)));
    }
  }
  std::vector<uint64_t> sizes(frames.size());
  Compressors compressors;
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(frames.size(), [&](size_t i) -> absl::Status {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    std::unique_ptr<Compressor> compressor = compressors.Take();
    const size_t size =
        ZSTD_compressCCtx(compressor->context.get(), compressor->output.data(),
                          compressor->output.size(), frames[i].data(), frames[i].size(), kLevel);
    if (ZSTD_isError(size)) {
      return Error(ERROR_REASON_INTERNAL_BUG, FormatString("zstd: {}", ZSTD_getErrorName(size)));
    }
    sizes[i] = size;
    compressors.Give(std::move(compressor));
    return absl::OkStatus();
  }));
  uint64_t total = 0;
  for (const uint64_t size : sizes) total += size;
  return total;
}

}  // namespace modelpress
