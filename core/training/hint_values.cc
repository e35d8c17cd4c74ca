// Looking into two models: see hint_values.h.
#include "core/training/hint_values.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/training/seen_model.h"

namespace modelpress {
namespace {

// Samples of one run of the teacher.
constexpr uint64_t kJoined = 64;
// Of the mean square: what hardly varies at all is not followed to its last bit.
constexpr double kLeastVariance = 1e-6;

// Channels lie on axis 1 of what convolutions and poolings make, also behind what works number by number.
bool IsMadeByConvolution(const Model& model, std::string value) {
  static constexpr std::string_view kChannelsFirst[] = {"Conv",
                                                        "ConvTranspose",
                                                        "BatchNormalization",
                                                        "InstanceNormalization",
                                                        "MaxPool",
                                                        "AveragePool",
                                                        "LpPool",
                                                        "GroupNormalization",
                                                        "GlobalMaxPool",
                                                        "GlobalAveragePool",
                                                        "GlobalLpPool"};
  static constexpr std::string_view kByNumber[] = {
      "Relu",    "LeakyRelu",      "PRelu",           "Clip",
      "Sigmoid", "Tanh",           "HardSwish",       "HardSigmoid",
      "Elu",     "Gelu",           "Softplus",        "Mish",
      "Selu",    "Identity",       "Dropout",         "Add",
      "Mul",     "QuantizeLinear", "DequantizeLinear"};
  Model clone = model.Clone();
  const GraphIndex index(clone.mutable_proto());
  const onnx::GraphProto& graph = clone.proto().graph();
  for (int steps = 0; steps < graph.node_size(); ++steps) {
    const onnx::NodeProto* node = index.Producer(graph, value);
    if (node == nullptr || node->input_size() == 0) return false;
    if (std::ranges::contains(kChannelsFirst, node->op_type())) return true;
    if (!std::ranges::contains(kByNumber, node->op_type())) return false;
    const bool second = index.Constant(graph, node->input(0)) != nullptr && node->input_size() > 1;
    value = node->input(second ? 1 : 0);
  }
  return false;
}

class HintPacker {
 public:
  HintPacker(const Model& teacher, const Model& model, const Training& training,
             const TrainingData& data, const JobContext& context, HintCache* cache)
      : teacher_model_(teacher),
        training_(training),
        data_(data),
        context_(context),
        cache_(cache != nullptr ? *cache : own_cache_),
        teacher_(teacher, "teacher"),
        student_(model, "student") {}

  absl::StatusOr<std::vector<HintValues>> Pack() {
    std::vector<std::string> theirs, ours;
    for (const FeatureHint& hint : training_.hints()) {
      theirs.push_back(hint.teacher());
      ours.push_back(hint.student().empty() ? hint.teacher() : hint.student());
    }
    MP_RETURN_IF_ERROR(teacher_.Load(theirs, context_));
    MP_RETURN_IF_ERROR(student_.Load(ours, context_));
    const TensorMap one = FeedOf(data_, 0, 1);
    MP_RETURN_IF_ERROR(teacher_.Run(one));
    MP_RETURN_IF_ERROR(student_.Run(one));
    for (size_t i = 0; i < theirs.size(); ++i) {
      MP_ASSIGN_OR_RETURN(result_.emplace_back(), Plan(i, ours[i]));
    }
    MP_RETURN_IF_ERROR(Fill());
    for (size_t i = 0; i < theirs.size(); ++i) {
      const HintCache::Values& cached = cache_.values.at(theirs[i]);
      result_[i].teacher = cached.array;
      result_[i].variance = cached.variance;
    }
    return std::move(result_);
  }

 private:
  absl::StatusOr<HintValues> Plan(size_t i, const std::string& name) {
    for (const SeenModel* model : {&teacher_, &student_}) {
      const std::optional<Tensor>& value = model->Seen(i);
      if (!value.has_value() || value->type != DataType::kFloat || value->dims.empty()) {
        return model->Refuse(i, "is no float32 value that is computed for every sample");
      }
      if (!data_.exact && value->dims[0] != 1) {
        return model->Refuse(i, "has no samples along axis 0");
      }
    }
    const Tensor &theirs = *teacher_.Seen(i), &ours = *student_.Seen(i);
    const FeatureHint& hint = training_.hints(static_cast<int>(i));
    HintValues values{.value = name, .weight = hint.has_weight() ? hint.weight() : 1};
    const size_t rank = theirs.dims.size();
    const bool first =
        rank > 3 || (rank == 3 && IsMadeByConvolution(teacher_model_, hint.teacher()));
    const size_t axis = first ? 1 : rank - 1;
    values.channel_axis = static_cast<int>(axis);
    bool together = ours.dims.size() == rank && (data_.exact || axis > 0);
    for (size_t k = 0; together && k < rank; ++k) {
      together = k == axis || ours.dims[k] == theirs.dims[k];
    }
    if (!together) {
      return student_.Refuse(
          i, FormatString("is a value [{}], which does not go together with the teacher's [{}]: "
                          "they may differ in their channels (axis {}) alone",
                          absl::StrJoin(ours.dims, ","), absl::StrJoin(theirs.dims, ","), axis));
    }
    values.channels = ours.dims[axis];
    values.teacher_channels = theirs.dims[axis];
    PackedArray& array = values.teacher;
    array = {.name = hint.teacher(), .type = DataType::kFloat, .dims = theirs.dims};
    const auto rows = static_cast<int64_t>(data_.training);
    if (data_.exact) {
      array.dims.insert(array.dims.begin(), rows);
    } else {
      array.dims[0] = rows;
    }
    MP_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(array.dims));
    MP_ASSIGN_OR_RETURN(const uint64_t length, ByteCount(DataType::kFloat, count));
    if (!cache_.values.contains(hint.teacher())) {
      MP_ASSIGN_OR_RETURN(array.file, context_.scratch->NewFile(std::max<uint64_t>(length, 1)));
    }
    return values;
  }

  // Runs the teacher for those that the cache lacks.
  absl::Status Fill() {
    const auto lacks = [](const HintValues& hint) { return hint.teacher.file != nullptr; };
    if (std::ranges::none_of(result_, lacks)) return absl::OkStatus();
    const uint64_t at_once = data_.exact ? 1 : kJoined;
    std::vector<double> sums(result_.size()), squares(result_.size());
    for (uint64_t first = 0; first < data_.training; first += at_once) {
      MP_RETURN_IF_ERROR(context_.cancellation->Check());
      const uint64_t count = std::min(at_once, data_.training - first);
      MP_RETURN_IF_ERROR(teacher_.Run(FeedOf(data_, first, count)));
      for (size_t i = 0; i < result_.size(); ++i) {
        if (!lacks(result_[i])) continue;
        MP_RETURN_IF_ERROR(Put(i, first, count, &sums[i], &squares[i]));
      }
    }
    for (size_t i = 0; i < result_.size(); ++i) {
      if (!lacks(result_[i])) continue;
      const double n = static_cast<double>(ElementCount(result_[i].teacher.dims).value_or(1));
      const double energy = squares[i] / n, mean = sums[i] / n;
      cache_.values[result_[i].teacher.name] = {
          result_[i].teacher, std::max({energy - mean * mean, kLeastVariance * energy, 1e-12})};
    }
    return absl::OkStatus();
  }

  absl::Status Put(size_t i, uint64_t first, uint64_t count, double* sum, double* squares) {
    PackedArray& array = result_[i].teacher;
    const uint64_t row =
        ElementCount(array.dims).value_or(0) / static_cast<uint64_t>(array.dims[0]);
    const std::optional<Tensor>& value = teacher_.Seen(i);
    if (!value.has_value() || value->element_count() != row * count) {
      return teacher_.Refuse(i, FormatString("has another shape at sample {}", first));
    }
    const std::span<const float> floats = value->as<float>();
    for (const float x : floats) {
      *sum += x;
      *squares += static_cast<double>(x) * x;
    }
    if (!std::isfinite(*squares)) {
      return Error(ERROR_REASON_DATA_NOT_FINITE,
                   FormatString("the original gives NaN or infinity in '{}' at sample {}",
                                array.name, first))
          .With("sample", std::to_string(first));
    }
    std::memcpy(array.file->mutable_bytes().data() + first * row * sizeof(float), floats.data(),
                floats.size_bytes());
    return absl::OkStatus();
  }

  const Model& teacher_model_;
  const Training& training_;
  const TrainingData& data_;
  const JobContext& context_;
  HintCache own_cache_;
  HintCache& cache_;
  SeenModel teacher_, student_;
  std::vector<HintValues> result_;
};

}  // namespace

absl::StatusOr<std::vector<HintValues>> PackHintValues(const Model& teacher, const Model& model,
                                                       const Training& training,
                                                       const TrainingData& data,
                                                       const JobContext& context,
                                                       HintCache* cache) {
  return HintPacker(teacher, model, training, data, context, cache).Pack();
}

}  // namespace modelpress
