// What a model's outputs hold, as the caller says or as labels, names and shapes suggest; and so how they are trained by.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "core/measure/task_metrics.h"
#include "modelpress/v1/recipe.pb.h"
#include "modelpress/v1/trainer.pb.h"

namespace modelpress {

struct OutputKind {
  std::string output;
  TrainTarget::Loss loss = TrainTarget::LOSS_UNSPECIFIED;
  // Of classes; counted in the output as it is fed.
  int class_axis = 0;
  // Whether it is trained by, or only compared.
  bool trained = true;
  // Whether the labels are about it.
  bool labels = false;
};

struct OutputKinds {
  // The output whose decisions are judged, if any is.
  TaskSettings task;
  // Of every float32 output, in the model's order.
  std::vector<OutputKind> outputs;
};

// RECIPE_INVALID with the field's path: an entry without a kind, two for the same output.
absl::Status ValidateOutputs(const google::protobuf::RepeatedPtrField<OutputLoss>& outputs,
                             std::string_view field);

// What `training.outputs` does not tell is guessed as by ResolveTask (core/measure/task_metrics.h), from the teacher's
// outputs for the first feed and its labels; with TASK_NONE outputs hold values where nothing is told. Outputs are trained
// by if they are told of or have the classes that are judged; if there are none of these, all are. `joined`: axis 0 of
// outputs is that of samples.
//
// Errors: RECIPE_INVALID, naming the entry, where it names no float32 output, or one that cannot hold what it says;
// DATA_INVALID where labels do not fit what is told; OP_UNSUPPORTED where there is no float32 output; those of ResolveTask.
absl::StatusOr<OutputKinds> ResolveOutputs(const Training& training, const Judging& judging,
                                           const std::vector<ValueInfo>& outputs,
                                           const TensorMap& first_outputs, const Batch& first_batch,
                                           bool joined);

}  // namespace modelpress
