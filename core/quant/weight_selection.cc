// Finding the weights that a pass may work on; see weight_selection.h.
#include "core/quant/weight_selection.h"

#include <algorithm>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/float_values.h"
#include "core/quant/skip.h"
#include "core/quant/weight_readings.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

constexpr uint64_t kDefaultMinElements = 1024;
constexpr size_t kMaxGlobs = 1000;

bool Among(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, value) != list.end();
}

bool MatchesAny(const google::protobuf::RepeatedPtrField<std::string>& globs,
                const CandidateWeight& weight) {
  for (const std::string& glob : globs) {
    if (GlobMatches(glob, weight.name)) return true;
    for (const auto* uses : {&weight.uses, &weight.weight_uses}) {
      for (const Use& use : *uses) {
        if (GlobMatches(glob, use.node->name())) return true;
      }
    }
  }
  return false;
}

// The first rule that speaks against the weight.
std::optional<v1::Skip> Refuse(const CandidateWeight& weight, const GraphIndex& index,
                               const absl::flat_hash_set<const onnx::TensorProto*>& shapes,
                               const Readings& readings, const v1::WeightSelection& selection) {
  const auto skip = [&](SkipReason reason, std::string_view detail) {
    return MakeSkip(reason, weight.name, weight.reader(), detail);
  };
  if (weight.graph == nullptr) {
    return skip(
        SkipReason::kInsideFunction,
        "the function is called several times or has an opset of its own: export without it");
  }
  const DataType type = Type(*weight.tensor);
  if (shapes.contains(weight.tensor)) {
    return skip(SkipReason::kUsedAsShape, "feeds shape arithmetic or control flow");
  }
  for (const Use& use : weight.uses) {
    const std::string& op = use.node->op_type();
    if ((op == "DequantizeLinear" || op == "QuantizeLinear") && use.input > 0) {
      return skip(SkipReason::kAlreadyQuantized, "a scale of " + op);
    }
  }
  const auto& ops = selection.op_types();
  const auto wanted = [&](const Reading& reading) {
    if (ops.empty()) return IsWeightInput(reading.use);
    return std::ranges::find(ops, reading.use.node->op_type()) != ops.end();
  };
  if (std::ranges::none_of(readings.readings, wanted)) {
    const std::string reader =
        readings.readings.empty() ? "a graph output" : readings.readings[0].use.node->op_type();
    return skip(SkipReason::kExcluded,
                FormatString("read by {}, not as a weight of the chosen operators", reader));
  }
  if (!selection.include().empty() && !MatchesAny(selection.include(), weight)) {
    return skip(SkipReason::kExcluded, "no glob of include matches");
  }
  if (MatchesAny(selection.exclude(), weight)) {
    return skip(SkipReason::kExcluded, "a glob of exclude matches");
  }
  const uint64_t minimum =
      selection.has_min_elements() ? selection.min_elements() : kDefaultMinElements;
  if (weight.elements < std::max<uint64_t>(minimum, 1)) {
    return skip(SkipReason::kTooSmall,
                FormatString("{} elements, min_elements is {}", weight.elements, minimum));
  }
  if (!IsWeightType(type)) {
    return skip(
        SkipReason::kNotFloat,
        FormatString("{}; float32, float16 and bfloat16 are worked on", DataTypeName(type)));
  }
  if (readings.is_output) {
    return skip(SkipReason::kGraphOutput, "its values are themselves an output of a graph");
  }
  if (weight.constant == nullptr && index.Constant(*weight.graph, weight.name) != weight.tensor) {
    return skip(SkipReason::kOverridable,
                "also an input of the graph: callers may replace it; remove that input");
  }
  return std::nullopt;
}

// Of the constant, not of what the reader sees.
std::optional<size_t> ChannelAxis(const Reading& reading) {
  if (!reading.axes.has_value()) return std::nullopt;
  const auto axis = ChannelAxis(reading.use, reading.axes->size());
  return axis.has_value() ? (*reading.axes)[*axis] : std::nullopt;
}

}  // namespace

bool GlobMatches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0;
  // Where to go on after the last star: one more character of the text is left to it.
  size_t star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    bool matched = false;
    size_t next = p + 1;
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
      continue;
    }
    if (p < pattern.size() && pattern[p] == '[') {
      size_t i = p + 1;
      const bool inverted = i < pattern.size() && pattern[i] == '!';
      if (inverted) ++i;
      bool inside = false;
      const size_t first = i;
      for (; i < pattern.size() && (pattern[i] != ']' || i == first); ++i) {
        if (i + 2 < pattern.size() && pattern[i + 1] == '-' && pattern[i + 2] != ']') {
          inside = inside || (pattern[i] <= text[t] && text[t] <= pattern[i + 2]);
          i += 2;
        } else {
          inside = inside || pattern[i] == text[t];
        }
      }
      if (i < pattern.size()) {
        matched = inside != inverted;
        next = i + 1;
      } else {
        matched = text[t] == '[';  // no closing bracket: an ordinary character
      }
    } else {
      matched = p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t]);
    }
    if (matched) {
      p = next;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::string_view CandidateWeight::reader() const {
  if (uses.empty()) return "";
  const onnx::NodeProto& node = *(weight_uses.empty() ? uses : weight_uses)[0].node;
  return node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name();
}

bool IsWeightInput(const Use& use) {
  const onnx::NodeProto& node = *use.node;
  if (!IsDefaultDomain(node.domain())) return false;
  const std::string& op = node.op_type();
  if (Among(op, {"Conv", "ConvTranspose"})) return use.input == 1;
  if (Among(op, {"MatMul", "Gemm"})) return use.input <= 1;
  if (op == "Gather") return use.input == 0;
  if (Among(op, {"LSTM", "GRU", "RNN"})) return use.input == 1 || use.input == 2;
  return false;
}

std::optional<size_t> ChannelAxis(const Use& use, size_t rank) {
  if (!IsWeightInput(use)) return std::nullopt;
  const onnx::NodeProto& node = *use.node;
  const std::string& op = node.op_type();
  std::optional<size_t> axis;
  if (op == "Conv") axis = 0;
  if (op == "ConvTranspose") axis = 1;
  if (op == "Gemm" && use.input == 0) axis = IntAttribute(node, "transA", 0) != 0 ? 1 : 0;
  if (op == "Gemm" && use.input == 1) axis = IntAttribute(node, "transB", 0) != 0 ? 0 : 1;
  if (op == "MatMul" && rank >= 2) axis = use.input == 0 ? rank - 2 : rank - 1;
  if (op == "Gather") {
    const int64_t given = IntAttribute(node, "axis", 0);
    const int64_t signed_rank = static_cast<int64_t>(rank);
    if (-signed_rank <= given && given < signed_rank) {
      axis = static_cast<size_t>(given < 0 ? given + signed_rank : given);
    }
  }
  if (Among(op, {"LSTM", "GRU", "RNN"})) axis = 1;
  if (axis.has_value() && *axis >= rank) return std::nullopt;
  return axis;
}

absl::StatusOr<SelectedWeights> SelectWeights(Model& model, const GraphIndex& index,
                                              const v1::WeightSelection& selection) {
  const auto shapes = ShapeTensors(model.proto());
  const MovedConstants moved(model, index);
  SelectedWeights result;
  absl::Status failure;
  ForEachTensor(model.mutable_proto(), [&](const TensorSite& site) {
    if (site.value_name.empty() || !IsFloatingPoint(Type(*site.tensor)) || !failure.ok()) return;
    CandidateWeight weight;
    weight.tensor = site.tensor;
    weight.graph = site.graph;
    weight.constant = site.node;
    weight.name = site.value_name;
    const auto elements = ElementCount(Dims(*site.tensor));
    if (!elements.ok()) {
      failure = Annotate(elements.status(), "tensor", weight.name);
      return;
    }
    weight.elements = *elements;
    Readings readings;
    bool agreed = true;
    if (site.graph != nullptr) {
      weight.uses = index.Uses(*site.graph, site.value_name);
      readings = moved.Find(*site.graph, site.value_name, site.tensor->dims_size());
      weight.is_moved = readings.is_moved;
      // Nobody reads it: it goes at the end of the pass.
      if (weight.uses.empty() && !readings.is_output) return;
      for (const Reading& reading : readings.readings) {
        if (!IsWeightInput(reading.use)) continue;
        weight.weight_uses.push_back(reading.use);
        const auto axis = ChannelAxis(reading);
        agreed = agreed && axis.has_value() && weight.channel_axis.value_or(*axis) == *axis;
        weight.channel_axis = axis;
      }
    }
    if (!agreed) weight.channel_axis.reset();
    if (auto skip = Refuse(weight, index, shapes, readings, selection); skip.has_value()) {
      result.skips.push_back(*std::move(skip));
      return;
    }
    result.weights.push_back(std::move(weight));
  });
  MP_RETURN_IF_ERROR(failure);
  return result;
}

void SeparateInitializersFromInputs(Model& model) {
  if (model.proto().ir_version() >= 4) return;
  onnx::GraphProto& graph = *model.mutable_proto().mutable_graph();
  absl::flat_hash_set<std::string> initializers;
  for (const auto& tensor : graph.initializer()) initializers.insert(tensor.name());
  auto& inputs = *graph.mutable_input();
  inputs.erase(
      std::remove_if(inputs.begin(), inputs.end(),
                     [&](const auto& input) { return initializers.contains(input.name()); }),
      inputs.end());
  model.mutable_proto().set_ir_version(4);
}

uint64_t WeightBytes(const Model& model) {
  uint64_t bytes = 0;
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    if (auto found = model.Bytes(tensor); found.ok()) bytes += found->size();
  });
  return bytes;
}

absl::Status ValidateSelection(const v1::WeightSelection& selection, std::string_view field) {
  const auto check = [&](const auto& list, std::string_view name) -> absl::Status {
    const std::string path = FormatString("{}.{}", field, name);
    if (static_cast<size_t>(list.size()) > kMaxGlobs) {
      return Error(ERROR_REASON_RECIPE_INVALID,
                   FormatString("{} has {} entries, at most {} are allowed", path, list.size(),
                                kMaxGlobs))
          .With("field", path);
    }
    if (std::ranges::any_of(list, [](const std::string& entry) { return entry.empty(); })) {
      return Error(ERROR_REASON_RECIPE_INVALID, path + " has an empty entry").With("field", path);
    }
    return absl::OkStatus();
  };
  MP_RETURN_IF_ERROR(check(selection.include(), "include"));
  MP_RETURN_IF_ERROR(check(selection.exclude(), "exclude"));
  return check(selection.op_types(), "op_types");
}

}  // namespace modelpress
