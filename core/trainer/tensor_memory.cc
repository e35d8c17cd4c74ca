// Listening to libtorch's allocator: see tensor_memory.h.
#include "core/trainer/tensor_memory.h"

#include <algorithm>
#include <memory>

#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

namespace modelpress::trainer {
namespace {

// What libtorch tells a memory profiler.
class Listener final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t bytes, size_t, size_t, c10::Device) override {
    held_ += bytes;  // negative where memory is let go
    peak_ = std::max(peak_, held_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak() const { return peak_; }

 private:
  int64_t held_ = 0, peak_ = 0;
};

}  // namespace

uint64_t PeakTensorBytes(const std::function<void()>& work) {
  const auto listener = std::make_shared<Listener>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, listener);
  work();
  return static_cast<uint64_t>(listener->peak());
}

}  // namespace modelpress::trainer
