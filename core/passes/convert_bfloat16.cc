// convert_bfloat16: weights in bfloat16, arithmetic in float32.
//
//   W float32 --> MatMul              W_bfloat16 --> Cast --> W --> MatMul
//   table float32 --> Gather          table_bfloat16 --> Gather --> Cast
//
// Rounding is half to even to the upper 16 bits of a float32 (the range stays, 8 bits of
// significand are left): nothing overflows. ONNX Runtime 1.21 has no arithmetic in bfloat16 on CPUs
// and refuses graphs that ask for it, so that only weights change their type. It casts them once
// when it loads the model: the file is half as large, the memory in use and the speed are those of
// float32.
#include <algorithm>
#include <cmath>
#include <memory>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/pass.h"
#include "core/quant/bfloat16.h"
#include "core/quant/function_inlining.h"
#include "core/quant/opset_conversion.h"
#include "core/quant/progress.h"
#include "core/quant/weight_selection.h"

namespace modelpress {
namespace {

// Measured on one core; only for plans.
constexpr double kBytesPerSecond = 1e9;
// Cast knows bfloat16 since opset 13.
constexpr int64_t kNeededOpset = 13;
constexpr uint64_t kPieceElements = 256 * 1024;

class ConvertBfloat16Pass final : public Pass {
 public:
  std::string_view name() const override { return "convert_bfloat16"; }
  std::string_view summary() const override {
    return "weights in bfloat16, cast to float32 when the model is loaded: half the size";
  }
  absl::Status Validate(const PassStep& step) const override {
    return ValidateSelection(step.convert_bfloat16().weights(), "convert_bfloat16.weights");
  }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    return {16 << 20, bytes / 2 + (1 << 20), static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::StatusOr<PassReport> Run(Model& model, const PassStep& step,
                                 PassContext& context) const override;
  std::vector<PassExample> examples() const override;
};

absl::StatusOr<WeightRef> Convert(std::span<const std::byte> floats, PassContext& context,
                                  WeightProgress& progress, Bfloat16Conversion* whole) {
  const uint64_t count = floats.size() / sizeof(float);
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, context.arena->Allocate(count * 2));
  std::vector<Bfloat16Conversion> parts((count + kPieceElements - 1) / kPieceElements);
  MP_RETURN_IF_ERROR(context.job->pool->ParallelFor(parts.size(), [&](size_t i) {
    const uint64_t at = i * kPieceElements;
    const uint64_t n = std::min(kPieceElements, count - at);
    parts[i] = ConvertToBfloat16(floats.subspan(at * 4, n * 4), room.bytes.subspan(at * 2, n * 2));
    progress.Add(n * sizeof(float));
    return context.job->cancellation->Check();
  }));
  for (const Bfloat16Conversion& part : parts) {
    whole->clamped += part.clamped;
    whole->sums.Add(part.sums);
  }
  return std::move(room.weight);
}

onnx::NodeProto CastToFloat(const std::string& from, const std::string& to, UniqueNames& names) {
  onnx::NodeProto cast;
  cast.set_op_type("Cast");
  cast.set_name(names.Make(to + "_Cast"));
  cast.add_input(from);
  cast.add_output(to);
  onnx::AttributeProto& attribute = *cast.add_attribute();
  attribute.set_name("to");
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(onnx::TensorProto::FLOAT);
  return cast;
}

// Puts the numbers in the weight's place; new nodes are collected, since adding them now would make
// pointers invalid.
absl::Status Replace(Model& model, const CandidateWeight& weight, WeightRef numbers,
                     UniqueNames& names,
                     std::vector<std::pair<onnx::GraphProto*, onnx::NodeProto>>* added) {
  const std::string stored = names.Make(weight.name + "_bfloat16");
  bool others = false;
  for (const Use& use : weight.uses) {
    if (use.node->op_type() != "Gather" || use.input != 0) {
      others = true;
      continue;
    }
    const std::string output = use.node->output(0);
    const std::string rows = names.Make(output + "_bfloat16");
    use.node->set_input(0, stored);
    use.node->set_output(0, rows);
    added->emplace_back(use.graph, CastToFloat(rows, output, names));
  }
  if (others) added->emplace_back(weight.graph, CastToFloat(stored, weight.name, names));
  const std::vector<int64_t> dims(weight.tensor->dims().begin(), weight.tensor->dims().end());
  onnx::TensorProto* tensor = weight.tensor;
  if (weight.constant != nullptr) {
    // Its output would be made twice: the node is left without a reader, under another name.
    tensor = weight.graph->add_initializer();
    weight.constant->set_output(0, names.Make(weight.name + "_float32"));
  }
  tensor->set_name(stored);
  if (numbers.length <= kInlineBytes) {
    return model.SetInline(tensor, DataType::kBfloat16, dims, numbers.bytes());
  }
  return model.SetWeight(tensor, DataType::kBfloat16, dims, std::move(numbers));
}

absl::StatusOr<PassReport> ConvertBfloat16Pass::Run(Model& model, const PassStep& step,
                                                    PassContext& context) const {
  const WeightSelection& selection = step.convert_bfloat16().weights();
  PassReport report;
  report.set_pass(std::string(name()));
  report.set_weight_bytes_before(WeightBytes(model));
  MP_RETURN_IF_ERROR(context.job->cancellation->Check());
  InlineFunctions(model, report.mutable_notes());
  SeparateInitializersFromInputs(model);
  if (model.opset() < kNeededOpset) {
    const GraphIndex index(model.mutable_proto());
    MP_ASSIGN_OR_RETURN(const SelectedWeights found, SelectWeights(model, index, selection));
    if (!found.weights.empty()) {
      const int64_t opset = model.opset();
      MP_RETURN_IF_ERROR(ConvertDefaultDomain(model, kNeededOpset));
      *report.add_notes() = FormatString(
          "opset {} was converted to {}, which Cast of bfloat16 needs", opset, kNeededOpset);
    }
  }
  const GraphIndex index(model.mutable_proto());
  MP_ASSIGN_OR_RETURN(SelectedWeights found, SelectWeights(model, index, selection));
  for (Skip& skip : found.skips) *report.add_skips() = std::move(skip);
  uint64_t total = 0;
  for (const CandidateWeight& weight : found.weights) total += weight.elements * sizeof(float);
  WeightProgress progress(context.progress, total);
  UniqueNames names(model.proto());
  std::vector<std::pair<onnx::GraphProto*, onnx::NodeProto>> added;
  for (const CandidateWeight& weight : found.weights) {
    MP_RETURN_IF_ERROR(context.job->cancellation->Check());
    progress.Start(weight.name);
    if (Type(*weight.tensor) != DataType::kFloat) {
      *report.add_skips() = MakeSkip(SkipReason::kNotFloat, weight.name, weight.reader(),
                                     "as small as bfloat16 already");
      continue;
    }
    MP_ASSIGN_OR_RETURN(const auto floats, model.Bytes(*weight.tensor));
    Bfloat16Conversion conversion;
    MP_ASSIGN_OR_RETURN(WeightRef numbers, Convert(floats, context, progress, &conversion));
    Change& change = *report.add_changes();
    change.set_tensor(weight.name);
    change.set_node(std::string(weight.reader()));
    change.set_what("bfloat16, cast to float32 when loaded");
    change.set_clamped(conversion.clamped);
    if (conversion.sums.noise > 0) {
      change.set_sqnr_db(10 * std::log10(conversion.sums.signal / conversion.sums.noise));
    }
    MP_RETURN_IF_ERROR(Replace(model, weight, std::move(numbers), names, &added));
  }
  MP_RETURN_IF_ERROR(RequireChange(step, report));
  for (auto& [graph, node] : added) *graph->add_node() = std::move(node);
  MP_RETURN_IF_ERROR(SortTopologically(model.mutable_proto()));
  RemoveDead(model.mutable_proto());
  *report.add_notes() =
      "arithmetic stays in float32: the runtime has no bfloat16 kernels on CPUs, and casts the "
      "weights when it loads the model";
  report.set_weight_bytes_after(WeightBytes(model));
  return report;
}

std::vector<PassExample> ConvertBfloat16Pass::examples() const {
  return {
      {"a weight is stored in half and cast",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}>
          { y = MatMul(x, w) })",
       "convert_bfloat16: {weights: {min_elements: 1}}",
       {"Cast", "MatMul"},
       0.02},
      {"rows of a table are cast after they were taken",
       R"(<ir_version: 4, opset_import: ["" : 9]>
          g (int64[2] i) => (float[2, 4] y)
          { table = Constant <value = float[3, 4] {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 0.2, 0.4,
                                                   -0.6, 0.8}> ()
            y = Gather(table, i) })",
       "convert_bfloat16: {weights: {min_elements: 1}}",
       {"Gather", "Cast"},
       0.02},
  };
}

}  // namespace

void RegisterPass_convert_bfloat16(PassRegistry& registry) {
  registry.Add(std::make_unique<ConvertBfloat16Pass>());
}

}  // namespace modelpress
