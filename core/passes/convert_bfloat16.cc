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
#include "core/quant/graph_additions.h"
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
  bool encodes_weights() const override { return true; }
  absl::Status Validate(const PassStep& step) const override {
    return ValidateSelection(step.convert_bfloat16().weights(), "convert_bfloat16.weights");
  }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    return {16 << 20, bytes / 2 + (1 << 20), static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override;
  std::vector<std::vector<PassStep>> tuning_candidates() const override {
    PassStep step;
    step.mutable_convert_bfloat16();
    return {{step}};
  }
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

void AddCast(GraphAdditions& additions, onnx::GraphProto* graph, const std::string& from,
             const std::string& to) {
  SetAttribute(additions.AddNode(graph, "Cast", {from}, to), "to", onnx::TensorProto::FLOAT);
}

// Puts the numbers in the weight's place.
absl::Status Replace(const CandidateWeight& weight, const WeightRef& numbers,
                     GraphAdditions& additions) {
  const std::string stored = additions.names().Make(weight.name + "_bfloat16");
  bool others = false;
  for (const Use& use : weight.uses) {
    if (use.node->op_type() != "Gather" || !IsDefaultDomain(use.node->domain()) || use.input != 0) {
      others = true;
      continue;
    }
    const std::string output = use.node->output(0);
    const std::string rows = additions.names().Make(output + "_bfloat16");
    use.node->set_input(0, stored);
    use.node->set_output(0, rows);
    AddCast(additions, use.graph, rows, output);
  }
  if (others) AddCast(additions, weight.graph, stored, weight.name);
  const std::vector<int64_t> dims(weight.tensor->dims().begin(), weight.tensor->dims().end());
  return additions.ReplaceTensor(weight, stored, DataType::kBfloat16, dims, numbers);
}

absl::Status ConvertBfloat16Pass::Apply(Model& model, const PassStep& step, PassContext& context,
                                        PassReport& report) const {
  const WeightSelection& selection = step.convert_bfloat16().weights();
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
  GraphAdditions additions(model, *context.arena);
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
    MP_ASSIGN_OR_RETURN(const WeightRef numbers, Convert(floats, context, progress, &conversion));
    Change& change = *report.add_changes();
    change.set_tensor(weight.name);
    change.set_node(std::string(weight.reader()));
    change.set_what("bfloat16, cast to float32 when loaded");
    change.set_clamped(conversion.clamped);
    change.set_bytes_before(floats.size());
    change.set_bytes_after(numbers.length);
    if (conversion.sums.noise > 0) {
      change.set_sqnr_db(10 * std::log10(conversion.sums.signal / conversion.sums.noise));
    }
    MP_RETURN_IF_ERROR(Replace(weight, numbers, additions));
  }
  MP_RETURN_IF_ERROR(additions.Finish());
  RemoveDead(model.mutable_proto());
  *report.add_notes() =
      "arithmetic stays in float32: the runtime has no bfloat16 kernels on CPUs, and casts the "
      "weights when it loads the model";
  return absl::OkStatus();
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
