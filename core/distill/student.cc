// Students: see student.h.
#include "core/distill/student.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numeric>

#include "absl/strings/str_join.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/data/input_feed.h"
#include "core/data/random.h"
#include "core/model/graph.h"
#include "core/quant/skip.h"
#include "core/training/trainable.h"

namespace modelpress {
namespace {

// Some feeds are held back to judge refits, so there should be many.
constexpr uint64_t kLeastFeeds = 64, kMostJoined = 32;

// Extents that are free on one side fit any.
bool FitShapes(const ValueInfo& a, const ValueInfo& b) {
  if (a.type != b.type || a.dims.size() != b.dims.size()) return false;
  for (size_t i = 0; i < a.dims.size(); ++i) {
    if (a.dims[i] >= 0 && b.dims[i] >= 0 && a.dims[i] != b.dims[i]) return false;
  }
  return true;
}

absl::Status CheckValues(std::string_view what, const std::vector<ValueInfo>& teacher,
                         const std::vector<ValueInfo>& student) {
  const auto refuse = [&](const std::string& name, std::string_view why) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("the student does not take the original's place: {} '{}' {}", what,
                              name, why))
        .With("field", "student")
        .With(what, name)
        .Remedy("give a student with the same inputs and outputs, by name, type and shape");
  };
  for (const ValueInfo& value : teacher) {
    const auto found = std::ranges::find(student, value.name, &ValueInfo::name);
    if (found == student.end()) return refuse(value.name, "is missing");
    if (FitShapes(value, *found)) continue;
    return refuse(value.name, FormatString("is {} where the original's is {}",
                                           DescribeValue(*found), DescribeValue(value)));
  }
  for (const ValueInfo& value : student) {
    const bool known = std::ranges::contains(teacher, value.name, &ValueInfo::name);
    if (!known) return refuse(value.name, "is none of the original's");
  }
  return absl::OkStatus();
}

// How many values one result is summed from.
double FanIn(const onnx::NodeProto& node, std::span<const int64_t> dims) {
  const std::string& op = node.op_type();
  const auto product = [&](size_t from) {
    double count = 1;
    for (size_t i = from; i < dims.size(); ++i) count *= static_cast<double>(dims[i]);
    return count;
  };
  if (dims.empty()) return 1;
  if (op == "Conv") return product(1);
  if (op == "ConvTranspose") return product(2) * static_cast<double>(dims[0]);
  if (op == "Gemm") {
    return static_cast<double>(IntAttribute(node, "transB", 0) != 0 ? dims.back() : dims[0]);
  }
  if (op == "MatMul") return static_cast<double>(dims.size() < 2 ? dims[0] : dims[dims.size() - 2]);
  return static_cast<double>(dims.back());
}

bool IsNorm(std::string_view op) { return op.find("Normalization") != std::string_view::npos; }

// The value that a parameter without direction begins with.
float Neutral(const GraphIndex& index, const onnx::GraphProto& graph, const Trainable& parameter) {
  for (const Use& use : index.Uses(graph, parameter.name)) {
    const std::string& op = use.node->op_type();
    if (IsNorm(op)) return use.input == 1 || use.input == 4 ? 1 : 0;
    if (op == "Mul" || op == "Div") return 1;
    if (op == "PRelu") return 0.25f;
  }
  return 0;
}

struct Constant {
  std::string node;
  std::vector<int64_t> dims;
  std::span<const std::byte> bytes;
};

// Float constants of every graph by name; they refer to the model.
std::map<std::string, Constant> FloatConstants(Model& model) {
  std::map<std::string, Constant> found;
  const GraphIndex index(model.mutable_proto());
  ForEachTensor(model.mutable_proto(), [&](const TensorSite& site) {
    if (site.value_name.empty() || !IsFloatingPoint(Type(*site.tensor))) return;
    Constant& constant = found[site.value_name];
    const auto dims = Dims(*site.tensor);
    constant.dims.assign(dims.begin(), dims.end());
    if (const auto bytes = model.Bytes(*site.tensor); bytes.ok()) {
      constant.bytes = *bytes;
    }
    const auto& uses = index.Uses(model.proto().graph(), site.value_name);
    if (!uses.empty()) constant.node = NodeName(*uses[0].node);
  });
  return found;
}

std::string ShapeText(const std::vector<int64_t>& dims) {
  return FormatString("[{}]", absl::StrJoin(dims, ","));
}

// Some rows of an array in a file of their own.
absl::StatusOr<PackedArray> PickRows(const PackedArray& array, const std::vector<uint64_t>& rows,
                                     const JobContext& context) {
  PackedArray picked = array;
  const uint64_t per_row = RowsOf(array, /*exact=*/false, 0, 1).bytes.size();
  picked.dims[0] = static_cast<int64_t>(rows.size());
  MP_ASSIGN_OR_RETURN(picked.file,
                      context.scratch->NewFile(std::max<uint64_t>(1, per_row * rows.size())));
  std::byte* const to = picked.file->mutable_bytes().data();
  for (size_t i = 0; i < rows.size(); ++i) {
    std::memcpy(to + i * per_row, array.file->bytes().data() + rows[i] * per_row, per_row);
  }
  return picked;
}

}  // namespace

PackedSamples::PackedSamples(const PackedRows& data, uint64_t rows)
    : data_(data),
      rows_(rows),
      per_feed_(data.exact ? 1 : std::clamp<uint64_t>(rows / kLeastFeeds, 1, kMostJoined)) {}

absl::StatusOr<Batch> PackedSamples::Read(uint64_t index) const {
  const uint64_t first = index * per_feed_;
  Batch batch{.samples = std::min(per_feed_, rows_ - first), .first = first};
  batch.inputs = FeedOf(data_, first, batch.samples);
  return batch;
}

absl::Status CheckStudent(const Model& teacher, const Model& student) {
  MP_RETURN_IF_ERROR(CheckValues("input", DeclaredInputs(teacher), DeclaredInputs(student)));
  return CheckValues("output", DeclaredOutputs(teacher), DeclaredOutputs(student));
}

uint64_t ParametersOf(const Model& model) {
  uint64_t elements = 0;
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    if (IsFloatingPoint(Type(tensor))) elements += ElementCount(Dims(tensor)).value_or(0);
  });
  return elements;
}

absl::StatusOr<Model> WithRandomWeights(const Model& model, uint64_t seed, WeightArena& arena) {
  Model random_model = model.Clone();
  const GraphIndex index(random_model.mutable_proto());
  const onnx::GraphProto& graph = random_model.proto().graph();
  MP_ASSIGN_OR_RETURN(Trainables found, FindTrainables(random_model, index, WeightSelection(),
                                                       /*statistics=*/true));
  uint64_t number = 0;
  for (Trainable& parameter : found.parameters) {
    if (parameter.is_coded) continue;
    std::vector<float> values(ElementCount(parameter.dims).value_or(0));
    if (parameter.is_weight) {
      const std::vector<Use>& uses = index.Uses(graph, parameter.name);
      const double fan_in = uses.empty() ? 1 : std::max(1.0, FanIn(*uses[0].node, parameter.dims));
      const double deviation = std::sqrt(2 / fan_in);
      Random random(seed, /*key=*/0x6865, number++);
      for (float& value : values) value = static_cast<float>(deviation * random.Normal());
    } else {
      std::ranges::fill(values, Neutral(index, graph, parameter));
    }
    MP_RETURN_IF_ERROR(random_model.SetBytes(parameter.tensor, DataType::kFloat, parameter.dims,
                                             std::as_bytes(std::span(values)), arena));
  }
  return random_model;
}

void DescribeChanges(const Model& teacher, const Model& student, v1::PassReport* report) {
  Model before = teacher.Clone(), after = student.Clone();
  const std::map<std::string, Constant> old_ones = FloatConstants(before);
  const std::map<std::string, Constant> new_ones = FloatConstants(after);
  for (const auto& [name, constant] : new_ones) {
    const auto old_one = old_ones.find(name);
    std::string what;
    if (old_one == old_ones.end()) {
      what = "of the student";
    } else if (old_one->second.dims != constant.dims) {
      what = FormatString("{} to {}", ShapeText(old_one->second.dims), ShapeText(constant.dims));
    } else if (!std::ranges::equal(old_one->second.bytes, constant.bytes)) {
      what = "trained";
    } else {
      *report->add_skips() = MakeSkip(SkipReason::kNothingGained, name, constant.node,
                                      "the student has it as the original does");
      continue;
    }
    v1::Change& change = *report->add_changes();
    change.set_tensor(name);
    change.set_node(constant.node);
    change.set_what(what);
  }
  for (const auto& [name, constant] : old_ones) {
    if (new_ones.contains(name)) continue;
    v1::Change& change = *report->add_changes();
    change.set_tensor(name);
    change.set_node(constant.node);
    change.set_what("the student has none");
  }
}

absl::StatusOr<TrainingData> LabelledOnly(const TrainingData& data, const JobContext& context) {
  std::vector<uint64_t> training, validation;
  for (const PackedTarget& target : data.targets) {
    if (!target.labels.has_value()) continue;
    const uint64_t all = data.training + data.validation;
    for (uint64_t row = 0; row < all; ++row) {
      const Tensor labels = RowsOf(*target.labels, /*exact=*/false, row, 1);
      const bool labelled =
          std::ranges::any_of(labels.as<int64_t>(), [](int64_t label) { return label >= 0; });
      if (labelled) (row < data.training ? training : validation).push_back(row);
    }
    break;
  }
  if (training.size() < 2) {
    return Error(ERROR_REASON_DATA_MISSING,
                 FormatString("{} training samples have labels", training.size()))
        .With("needed", "labels");
  }
  if (validation.empty()) {
    const size_t count = std::max<size_t>(1, training.size() / 10);
    validation.assign(training.end() - static_cast<ptrdiff_t>(count), training.end());
    training.resize(training.size() - count);
  }
  TrainingData picked{data};
  // What has no labels would be trained by the teacher.
  std::erase_if(picked.targets, [](const PackedTarget& target) { return !target.labels; });
  picked.training = picked.labelled = training.size();
  picked.validation = validation.size();
  training.insert(training.end(), validation.begin(), validation.end());
  for (PackedArray& array : picked.inputs) {
    MP_ASSIGN_OR_RETURN(array, PickRows(array, training, context));
  }
  for (PackedTarget& target : picked.targets) {
    MP_ASSIGN_OR_RETURN(target.teacher, PickRows(target.teacher, training, context));
    MP_ASSIGN_OR_RETURN(*target.labels, PickRows(*target.labels, training, context));
  }
  return picked;
}

}  // namespace modelpress
