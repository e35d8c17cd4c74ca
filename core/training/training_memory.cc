// Estimates for plans and limits: see training_memory.h.
#include "core/training/training_memory.h"

#include <algorithm>

#include "core/rewrite/value_shapes.h"

namespace modelpress {
namespace {

// libtorch with its tables, allocators and OpenBLAS's buffer (measured: 96 MiB).
constexpr uint64_t kTrainerProgram = 160 << 20;
// Copies of the weights: 5 + the mask, 4 for the gradients of parts of a batch, and 4 + 3 for codes.
constexpr uint64_t kCopies = 17;
// A value and its gradient, and what the operators hold on their way.
constexpr double kBytesPerActivation = 12;

}  // namespace

uint64_t TrainerFixedMemory(uint64_t weight_bytes) {
  return kTrainerProgram + kCopies * weight_bytes;
}

uint64_t TrainerMemory(uint64_t weight_bytes) {
  return TrainerFixedMemory(weight_bytes) + kActivationRoom;
}

uint64_t TrainerMemory(const Model& model, uint64_t weight_bytes, uint32_t batch_size) {
  Model clone = model.Clone();
  const auto shapes = InferValueShapes(clone.mutable_proto());
  const auto main = shapes.find(&clone.proto().graph());
  double elements = 0;
  for (const onnx::NodeProto& node : clone.proto().graph().node()) {
    for (const std::string& output : node.output()) {
      if (output.empty()) continue;
      if (main == shapes.end()) return TrainerMemory(weight_bytes);
      const auto found = main->second.find(output);
      if (found == main->second.end()) return TrainerMemory(weight_bytes);
      const ValueShape& shape = found->second;
      for (int64_t axis = 1; axis < shape.rank(); ++axis) {
        if (shape.dims[axis] < 0) return TrainerMemory(weight_bytes);
      }
      // Of one sample.
      elements += shape.elements(1) /
                  static_cast<double>(std::max<int64_t>(1, shape.rank() > 0 ? shape.dims[0] : 1));
    }
  }
  const double bytes = elements * batch_size * kBytesPerActivation;
  return TrainerFixedMemory(weight_bytes) +
         static_cast<uint64_t>(std::min(bytes, static_cast<double>(kActivationRoom)));
}

}  // namespace modelpress
