// Narrower students: see narrow_student.h.
#include "core/distill/narrow_student.h"

#include <algorithm>

#include "core/base/status.h"
#include "core/channels/importance.h"
#include "core/distill/student.h"

namespace modelpress {
namespace {

// Samples that refits are made on.
constexpr uint64_t kMostRefitSamples = 4096;
// Above so many channels of a group, scores by reconstruction take tens of seconds.
constexpr int64_t kLargeGroup = 512;

// The largest of what is both made and read: the smaller extent of each matrix or filter.
int64_t LargestExtent(const Model& model) {
  int64_t largest = 0;
  for (const onnx::TensorProto& tensor : model.proto().graph().initializer()) {
    if (!IsFloatingPoint(Type(tensor)) || tensor.dims_size() < 2) continue;
    largest = std::max(largest, std::min(tensor.dims(0), tensor.dims(1)));
  }
  return largest;
}

// In a search scores of large groups are made so often that those of energy must do: reconstruction takes time with the
// cube of a group's channels.
ChannelImportance ImportanceFor(const Model& from, const Distill& options) {
  const ChannelImportance asked = ImportanceOf(options.importance());
  if (asked != ChannelImportance::kMeasured || options.has_width()) return asked;
  return LargestExtent(from) > kLargeGroup ? ChannelImportance::kEnergy : asked;
}

NarrowOptions NarrowingBy(double share, const Distill& options) {
  NarrowOptions narrow{.width = share};
  narrow.multiple = options.multiple();
  narrow.keep.assign(options.keep().begin(), options.keep().end());
  return narrow;
}

}  // namespace

absl::StatusOr<NarrowedModel> NarrowStudent(const Model& from, double share, const Distill& options,
                                            const TrainingData& data, WeightArena& arena,
                                            const JobContext& context,
                                            const NarrowProgress& progress) {
  const PackedSamples samples(data, std::min(data.originals, kMostRefitSamples));
  NarrowOptions narrow = NarrowingBy(share, options);
  narrow.importance = ImportanceFor(from, options);
  return NarrowModel(from, &samples, narrow, arena, context, progress);
}

absl::StatusOr<NarrowedModel> CutStudent(const Model& from, double share, const Distill& options,
                                         const JobContext& context) {
  NarrowOptions narrow = NarrowingBy(share, options);
  narrow.importance = ChannelImportance::kL2;
  narrow.refit = false;
  WeightArena arena(context.scratch);
  return NarrowModel(from, nullptr, narrow, arena, context, nullptr);
}

}  // namespace modelpress
