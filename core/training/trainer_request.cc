// Writing a request: see trainer_request.h.
#include "core/training/trainer_request.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string_view>

#include "absl/container/flat_hash_set.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/training/code_start.h"
#include "core/training/training_memory.h"

namespace modelpress {
namespace {

// Less room than this for activations is not worth trying.
constexpr uint64_t kLeastActivationRoom = 1 << 20;
// Room for the curve and the header in each half of a checkpoint.
constexpr uint64_t kCheckpointState = 512 << 10;
// Below this share of zeros, codes of 0 are just small weights.
constexpr double kPrunedShare = 0.5;

uint64_t CountOf(std::span<const int64_t> dims) {
  return static_cast<uint64_t>(
      std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>()));
}

}  // namespace

absl::Status TrainerRequest::Make() {
  MP_RETURN_IF_ERROR(Place());
  MP_RETURN_IF_ERROR(LookForHints());
  MP_RETURN_IF_ERROR(DescribeModel());
  DescribeHints();
  DescribeTargets();
  DescribeParameters();
  request_.set_training_samples(data_.training);
  *request_.mutable_training() = options_.training;
  request_.set_seed(options_.seed);
  request_.set_exact(data_.exact);
  if (data_.exact) request_.set_samples_per_forward(1);
  // Values, two moments and the best values, twice; see core/trainer/checkpoint.h.
  const uint64_t checkpoint = 2 * (4 * elements_ * sizeof(float) + kCheckpointState);
  MP_ASSIGN_OR_RETURN(checkpoint_, context_.scratch->NewFile(checkpoint));
  *request_.mutable_checkpoint() = files_.Range(checkpoint_, 0, checkpoint);
  LimitMemory();
  LimitTime();
  return absl::OkStatus();
}

void TrainerRequest::SetArray(const PackedArray& packed, TrainArray* array) {
  array->set_name(packed.name);
  array->set_type(static_cast<int32_t>(packed.type));
  array->mutable_dims()->Add(packed.dims.begin(), packed.dims.end());
  const uint64_t bytes = ByteCount(packed.type, CountOf(packed.dims)).value_or(0);
  *array->mutable_data() = files_.Range(packed.file, 0, bytes);
}

absl::Status TrainerRequest::Place() {
  for (const Trainable& parameter : parameters_) {
    PlacedParameter placed{.trainable = &parameter, .count = CountOf(parameter.dims)};
    placed.values = values_.Take(placed.count);
    placed.result = values_.Take(placed.count);
    if (parameter.is_coded) {
      MP_ASSIGN_OR_RETURN(placed.codes, DecodeCodes(model_, parameter));
      placed.scales = values_.Take(placed.codes.scales.size());
      placed.zero_points = values_.Take(placed.codes.scales.size());
    }
    elements_ += placed.count;
    placed_.push_back(std::move(placed));
  }
  MP_RETURN_IF_ERROR(values_.Make(*context_.scratch));
  for (PlacedParameter& placed : placed_) {
    const std::span<float> values = values_.At(placed.values, placed.count);
    uint64_t zeros = 0;
    if (placed.trainable->is_coded) {
      StartCodes(options_.original, *placed.trainable, placed.codes, values);
      const auto copy = [&](const std::vector<float>& from, uint64_t to) {
        std::ranges::copy(from, values_.At(to, from.size()).begin());
      };
      copy(placed.codes.scales, placed.scales);
      copy(placed.codes.zero_points, placed.zero_points);
      for (uint64_t i = 0; i < placed.count; ++i) {
        const uint64_t s = placed.codes.ScaleIndex(*placed.trainable, i);
        zeros += placed.codes.codes[i] == placed.codes.zero_points[s];
      }
      placed.keep_zeros =
          static_cast<double>(zeros) >= kPrunedShare * static_cast<double>(placed.count);
    } else {
      MP_ASSIGN_OR_RETURN(const auto bytes, model_.Bytes(*placed.trainable->tensor));
      std::memcpy(values.data(), bytes.data(), bytes.size());
      placed.keep_zeros = placed.trainable->is_weight;
    }
  }
  return absl::OkStatus();
}

absl::Status TrainerRequest::LookForHints() {
  if (options_.training.hints().empty()) return absl::OkStatus();
  const Model* teacher = options_.teacher != nullptr ? options_.teacher : options_.original;
  if (teacher == nullptr) {
    return Error(ERROR_REASON_INTERNAL_BUG, "a training with hints was given no teacher");
  }
  MP_ASSIGN_OR_RETURN(hints_, PackHintValues(*teacher, model_, options_.training, data_, context_,
                                             options_.hint_cache));
  return absl::OkStatus();
}

// The model as far as the values that it is trained by.
absl::Status TrainerRequest::DescribeModel() {
  onnx::ModelProto part = model_.proto();
  absl::flat_hash_set<std::string_view> made;
  for (const onnx::NodeProto& node : model_.proto().graph().node()) {
    made.insert(node.output().begin(), node.output().end());
  }
  part.mutable_graph()->clear_output();
  for (const PackedTarget& target : data_.targets) {
    if (!made.contains(target.output)) {
      return Error(ERROR_REASON_OP_UNSUPPORTED,
                   FormatString("the model no longer has the value '{}' that it is to be trained "
                                "by",
                                target.output))
          .Tensor(target.output)
          .Remedy("leave the training out of the recipe");
    }
    part.mutable_graph()->add_output()->set_name(target.output);
  }
  for (const HintValues& hint : hints_) part.mutable_graph()->add_output()->set_name(hint.value);
  RemoveDead(part);
  part.SerializeToString(request_.mutable_model());
  for (const WeightRef& weight : model_.weights()) {
    *request_.add_weights() = files_.Range(weight.file, weight.offset, weight.length);
  }
  return absl::OkStatus();
}

void TrainerRequest::DescribeHints() {
  for (const HintValues& values : hints_) {
    TrainHint& hint = *request_.add_hints();
    hint.set_value(values.value);
    hint.set_channel_axis(values.channel_axis);
    hint.set_channels(values.channels);
    hint.set_teacher_channels(values.teacher_channels);
    hint.set_weight(values.weight);
    hint.set_variance(values.variance);
    SetArray(values.teacher, hint.mutable_teacher());
    elements_ += static_cast<uint64_t>(values.channels * values.teacher_channels);
  }
}

void TrainerRequest::DescribeTargets() {
  for (const PackedArray& input : data_.inputs) SetArray(input, request_.add_inputs());
  for (const PackedTarget& packed : data_.targets) {
    TrainTarget& target = *request_.add_targets();
    target.set_output(packed.output);
    target.set_loss(packed.loss);
    target.set_class_axis(packed.class_axis);
    target.set_probabilities(packed.probabilities);
    target.set_variance(packed.variance);
    SetArray(packed.teacher, target.mutable_teacher());
    if (packed.labels.has_value()) SetArray(*packed.labels, target.mutable_labels());
  }
}

void TrainerRequest::DescribeParameters() {
  for (const PlacedParameter& placed : placed_) {
    const Trainable& trainable = *placed.trainable;
    TrainParameter& parameter = *request_.add_parameters();
    parameter.set_tensor(trainable.name);
    parameter.mutable_dims()->Add(trainable.dims.begin(), trainable.dims.end());
    *parameter.mutable_values() = FloatRange(placed.values, placed.count);
    *parameter.mutable_result() = FloatRange(placed.result, placed.count);
    parameter.set_keep_zeros(placed.keep_zeros);
    parameter.set_decay(trainable.is_weight);
    parameter.set_statistic(trainable.is_statistic);
    if (!trainable.is_coded) continue;
    parameter.set_coded(true);
    parameter.set_low(placed.codes.low);
    parameter.set_high(placed.codes.high);
    parameter.set_step(placed.codes.step);
    *parameter.mutable_scales() = FloatRange(placed.scales, placed.codes.scales.size());
    *parameter.mutable_zero_points() =
        FloatRange(placed.zero_points, placed.codes.zero_points.size());
    parameter.mutable_scale_dims()->Add(placed.codes.scale_dims.begin(),
                                        placed.codes.scale_dims.end());
    parameter.set_axis(trainable.grid.axis);
    parameter.set_block_size(trainable.grid.block_size);
  }
}

void TrainerRequest::LimitMemory() {
  request_.set_memory_limit_bytes(context_.memory_budget_bytes);
  const uint64_t fixed = TrainerFixedMemory(elements_ * sizeof(float));
  uint64_t room = kActivationRoom;
  if (context_.memory_budget_bytes > 0) {
    const uint64_t left =
        context_.memory_budget_bytes - std::min(context_.memory_budget_bytes, fixed);
    room = std::clamp(left, kLeastActivationRoom, kActivationRoom);
  }
  request_.set_activation_bytes(room);
}

void TrainerRequest::LimitTime() {
  const double share = options_.trial ? kTrialShareOfTimeLeft : kShareOfTimeLeft;
  const double most = share * context_.cancellation->SecondsLeft();
  Training& training = *request_.mutable_training();
  const bool told = training.max_seconds() > 0;
  if (std::isfinite(most) && (!told || most < training.max_seconds())) {
    training.set_max_seconds(most);
  }
}

}  // namespace modelpress
