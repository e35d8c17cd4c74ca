// How much memory tensors take while something runs.
#pragma once

#include <cstdint>
#include <functional>

namespace modelpress::trainer {

// Most bytes of tensors that `work` holds at once on this thread, those not counted that there were before. What libraries
// behind libtorch take for themselves is not seen.
uint64_t PeakTensorBytes(const std::function<void()>& work);

}  // namespace modelpress::trainer
