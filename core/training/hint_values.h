// What the values that a training's hints name are in the teacher, and how they are in the model that is trained.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/job_context.h"
#include "core/model/model.h"
#include "core/training/training_data.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {

// One hint. Both values have the same extents but for their channels.
struct HintValues {
  // The model's value.
  std::string value;
  // The axis of the channels: 1 of images (rank 4 and more) and of sequences that convolutions make, else the last.
  int channel_axis = 0;
  int64_t channels = 0, teacher_channels = 0;
  double weight = 1;
  // Of the teacher's value over all training samples.
  double variance = 1;
  // By training sample, in the order of the data.
  PackedArray teacher;
};

// What a teacher's values were over the training samples of one TrainingData, by name. Not thread-safe.
struct HintCache {
  struct Values {
    PackedArray array;
    double variance = 1;
  };
  std::map<std::string, Values> values;
};

// Runs the teacher once over the training samples, unless `cache` (may be null) has its values from an earlier training by
// the same data, and both models over one sample. RECIPE_INVALID with the field and the nearest
// name where a name is no float32 value that is computed from the inputs, or two values do not go together; DATA_NOT_FINITE;
// those of Session and Scratch.
absl::StatusOr<std::vector<HintValues>> PackHintValues(const Model& teacher, const Model& model,
                                                       const Training& training,
                                                       const TrainingData& data,
                                                       const JobContext& context, HintCache* cache);

}  // namespace modelpress
