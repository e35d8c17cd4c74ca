// quantize_dynamic: MatMul, Gemm and LSTM in 8-bit integers, activations quantized when the model
// runs.
//
//   x float --> MatMul (W float) --> y
//   x float --> DynamicQuantizeLinear --> MatMulInteger (W int8) --> Cast --> Mul (scales) --> y
//
//   activations  uint8, scale = (max - min) / 255 over the tensor at hand (ONNX
//                DynamicQuantizeLinear): no calibration, and no range that later data leaves
//   weights      int8 symmetric or uint8 asymmetric, one scale for each output channel
//                (quantize_weights has the formula)
//
// The forms are those that ONNX Runtime fuses into one kernel; see core/quant/dynamic_layers.h.
// Convolutions stay in float: ConvInteger was measured several times slower, and turning all of a
// voice detector's or a text recognizer's convolutions into it took them to 0 %.
//
// Safe by default: the whole is measured against the float model on calibration samples. Where it
// loses more than the limits allow, each layer is measured alone, and the costliest stay in float,
// as few as will do.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <set>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/model_loss.h"
#include "core/passes/pass.h"
#include "core/quant/dynamic_layers.h"
#include "core/quant/function_inlining.h"
#include "core/quant/opset_conversion.h"
#include "core/quant/progress.h"
#include "core/quant/weight_selection.h"
#include "core/runtime/constant_expression.h"

namespace modelpress {
namespace {

// Measured on one core; only for plans.
constexpr double kBytesPerSecond = 1e9;
// DynamicQuantizeLinear is of opset 11; 13 is what DequantizeLinear per channel needs, so that
// other passes find it done.
constexpr int64_t kNeededOpset = 11, kRaisedOpset = 13;

constexpr double kDefaultAgreement = 0.98, kDefaultSqnrDb = 20;
constexpr uint64_t kDefaultSamples = 64;

class QuantizeDynamicPass final : public Pass {
 public:
  std::string_view name() const override { return "quantize_dynamic"; }
  std::string_view summary() const override {
    return "MatMul, Gemm and LSTM in 8-bit integers, activation ranges taken while running: "
           "smaller "
           "and faster, no calibration";
  }
  absl::Status Validate(const PassStep& step) const override;
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    // The runtime holds one sample's activations; codes are written twice where they are
    // transposed.
    return {128 << 20, bytes / 2 + bytes / 16 + (4 << 20),
            1 + static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::StatusOr<PassReport> Run(Model& model, const PassStep& step,
                                 PassContext& context) const override;
  std::vector<PassExample> examples() const override;
};

absl::Status QuantizeDynamicPass::Validate(const PassStep& step) const {
  const QuantizeDynamic& options = step.quantize_dynamic();
  const LossLimits& limits = options.limits();
  if (limits.has_min_agreement() && !(limits.min_agreement() >= 0 && limits.min_agreement() <= 1)) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 FormatString("quantize_dynamic.limits.min_agreement is {}, must be 0 to 1",
                              limits.min_agreement()))
        .With("field", "quantize_dynamic.limits.min_agreement");
  }
  if (limits.has_min_sqnr_db() && !std::isfinite(limits.min_sqnr_db())) {
    return Error(ERROR_REASON_RECIPE_INVALID,
                 "quantize_dynamic.limits.min_sqnr_db must be a finite number")
        .With("field", "quantize_dynamic.limits.min_sqnr_db");
  }
  return ValidateSelection(options.weights(), "quantize_dynamic.weights");
}

// Layers that share weights are taken or left together.
struct Unit {
  std::vector<const DynamicLayer*> layers;
  // Measured alone; only where it was necessary.
  std::optional<ModelLoss> loss;
  std::string failure;
};

std::vector<Unit> MakeUnits(const DynamicLayers& found, const std::vector<bool>& usable) {
  std::vector<size_t> root(found.weights.size());
  std::iota(root.begin(), root.end(), size_t{0});
  const auto find = [&](size_t w) {
    while (root[w] != w) w = root[w];
    return w;
  };
  for (const DynamicLayer& layer : found.layers) {
    for (const size_t w : layer.weights) root[find(w)] = find(layer.weights[0]);
  }
  // A weight without codes takes all its relations along.
  std::vector<bool> lost(root.size(), false);
  for (size_t w = 0; w < root.size(); ++w) {
    if (!usable[w]) lost[find(w)] = true;
  }
  std::vector<Unit> units;
  std::vector<size_t> place(root.size(), std::numeric_limits<size_t>::max());
  for (const DynamicLayer& layer : found.layers) {
    const size_t w = find(layer.weights[0]);
    if (lost[w]) continue;
    if (place[w] == std::numeric_limits<size_t>::max()) {
      place[w] = units.size();
      units.emplace_back();
    }
    units[place[w]].layers.push_back(&layer);
  }
  return units;
}

std::vector<const DynamicLayer*> LayersOf(const std::vector<const Unit*>& units) {
  std::vector<const DynamicLayer*> layers;
  for (const Unit* unit : units) {
    layers.insert(layers.end(), unit->layers.begin(), unit->layers.end());
  }
  std::ranges::sort(layers, {},
                    [](const DynamicLayer* layer) { return std::pair(layer->graph, layer->node); });
  return layers;
}

// Chooses the units that the limits leave.
class Chooser {
 public:
  Chooser(const Model& model, const std::vector<DynamicWeight>& weights, const LossLimits& limits,
          PassContext& context)
      : model_(model), weights_(weights), limits_(limits), context_(context) {}

  absl::StatusOr<std::vector<const Unit*>> Choose(std::vector<Unit>& units, PassReport* report) {
    std::vector<const Unit*> all;
    for (const Unit& unit : units) all.push_back(&unit);
    if (limits_.off() || all.empty()) return all;
    auto meter = LossMeter::Make(
        model_, context_.data, limits_.max_samples() > 0 ? limits_.max_samples() : kDefaultSamples,
        context_.seed, *context_.arena, *context_.job);
    if (!meter.ok() && context_.data == nullptr &&
        ReasonOf(meter.status()) != ERROR_REASON_JOB_CANCELLED) {
      *report->add_notes() = FormatString(
          "the loss was not measured: without data, and the model does not run on synthetic "
          "samples ({})",
          std::string(meter.status().message()));
      return all;
    }
    MP_RETURN_IF_ERROR(meter.status());
    meter_ = std::move(*meter);
    MP_ASSIGN_OR_RETURN(ModelLoss loss, Measure(all, nullptr));
    std::vector<const Unit*> kept = all;
    if (!Within(loss)) {
      MP_ASSIGN_OR_RETURN(kept, LeaveOut(units));
      if (!kept.empty()) {
        MP_ASSIGN_OR_RETURN(loss, Measure(kept, nullptr));
      }
    }
    if (!kept.empty()) {
      *report->add_notes() =
          FormatString("{} of {} layers in integers: {} on {}", LayersOf(kept).size(),
                       LayersOf(all).size(), Describe(loss), meter_->description());
    }
    return kept;
  }

  static std::string Describe(const ModelLoss& loss) {
    std::string text = FormatString("{:.1f} dB", loss.sqnr_db);
    if (loss.agreement.has_value()) text += FormatString(", agreement {:.4f}", *loss.agreement);
    return text;
  }

 private:
  bool Within(const ModelLoss& loss) const {
    const double sqnr = limits_.has_min_sqnr_db() ? limits_.min_sqnr_db() : kDefaultSqnrDb;
    const double agreement =
        limits_.has_min_agreement() ? limits_.min_agreement() : kDefaultAgreement;
    return loss.sqnr_db >= sqnr && (!loss.agreement.has_value() || *loss.agreement >= agreement);
  }

  // A candidate that does not load or run has lost everything.
  absl::StatusOr<ModelLoss> Measure(const std::vector<const Unit*>& units, std::string* failure) {
    Model candidate = model_.Clone();
    MP_RETURN_IF_ERROR(QuantizeDynamicLayers(candidate, weights_, LayersOf(units)));
    RemoveDead(candidate.mutable_proto());
    auto loss = meter_->Measure(candidate);
    if (loss.ok() || ReasonOf(loss.status()) == ERROR_REASON_JOB_CANCELLED) return loss;
    if (failure != nullptr) *failure = std::string(loss.status().message());
    return ModelLoss{.sqnr_db = -std::numeric_limits<double>::infinity(), .agreement = 0.0};
  }

  // Each alone; then the fewest of the costliest whose absence is enough, by bisection.
  absl::StatusOr<std::vector<const Unit*>> LeaveOut(std::vector<Unit>& units) {
    std::vector<const Unit*> order;
    for (size_t i = 0; i < units.size(); ++i) {
      MP_ASSIGN_OR_RETURN(units[i].loss, Measure({&units[i]}, &units[i].failure));
      order.push_back(&units[i]);
      if (context_.progress) {
        context_.progress(
            0.5 + 0.4 * static_cast<double>(i + 1) / static_cast<double>(units.size()),
            units[i].layers[0]->name);
      }
    }
    std::ranges::stable_sort(order, {}, [](const Unit* unit) { return unit->loss->sqnr_db; });
    size_t enough = order.size(), too_few = 0;  // how many of the costliest to leave out
    while (enough - too_few > 1) {
      const size_t middle = too_few + (enough - too_few) / 2;
      const std::vector<const Unit*> rest(order.begin() + static_cast<ptrdiff_t>(middle),
                                          order.end());
      MP_ASSIGN_OR_RETURN(const ModelLoss loss, Measure(rest, nullptr));
      (Within(loss) ? enough : too_few) = middle;
    }
    return std::vector<const Unit*>(order.begin() + static_cast<ptrdiff_t>(enough), order.end());
  }

  const Model& model_;
  const std::vector<DynamicWeight>& weights_;
  const LossLimits& limits_;
  PassContext& context_;
  std::unique_ptr<LossMeter> meter_;
};

bool ReadsWeight(const onnx::NodeProto& node, int input) {
  if (!IsDefaultDomain(node.domain())) return false;
  if (node.op_type() == "LSTM") return input == 1 || input == 2;
  return input == 1 && (node.op_type() == "MatMul" || node.op_type() == "Gemm");
}

// Whether there is a layer to quantize, once weights are folded.
absl::StatusOr<bool> HasLayers(const Model& model, const WeightSelection& selection,
                               PassContext& context) {
  Model probe = model.Clone();
  MP_RETURN_IF_ERROR(
      FoldConstantInputs(probe, *context.arena, ReadsWeight, *context.job->cancellation).status());
  const GraphIndex index(probe.mutable_proto());
  MP_ASSIGN_OR_RETURN(const DynamicLayers found, FindDynamicLayers(probe, index, selection));
  return !found.layers.empty();
}

absl::StatusOr<PassReport> QuantizeDynamicPass::Run(Model& model, const PassStep& step,
                                                    PassContext& context) const {
  const QuantizeDynamic& options = step.quantize_dynamic();
  const bool per_channel = options.granularity() != QuantizeWeights::GRANULARITY_PER_TENSOR;
  const bool is_unsigned = options.type() == QuantizeWeights::TYPE_UINT8;
  const AffineRule rule = {is_unsigned ? CodeType::kUint8 : CodeType::kInt8, !is_unsigned};
  PassReport report;
  report.set_pass(std::string(name()));
  report.set_weight_bytes_before(WeightBytes(model));
  MP_RETURN_IF_ERROR(context.job->cancellation->Check());
  InlineFunctions(model, report.mutable_notes());
  SeparateInitializersFromInputs(model);
  if (model.opset() < kNeededOpset) {
    MP_ASSIGN_OR_RETURN(const bool any, HasLayers(model, options.weights(), context));
    if (any) {
      const int64_t opset = model.opset();
      MP_RETURN_IF_ERROR(ConvertDefaultDomain(model, kRaisedOpset));
      *report.add_notes() =
          FormatString("opset {} was converted to {}: DynamicQuantizeLinear needs {}", opset,
                       kRaisedOpset, kNeededOpset);
    }
  }
  MP_ASSIGN_OR_RETURN(
      const std::vector<FoldedInput> folded,
      FoldConstantInputs(model, *context.arena, ReadsWeight, *context.job->cancellation));
  std::map<std::string, std::string> sources;
  std::set<std::string> source_names;
  for (const FoldedInput& input : folded) {
    sources[input.name] = input.source;
    source_names.insert(input.source);
  }
  // Names of folded weights mean nothing to anyone.
  const auto source = [&](const std::string& name) {
    const auto known = sources.find(name);
    return known == sources.end() ? name : known->second;
  };
  const GraphIndex index(model.mutable_proto());
  MP_ASSIGN_OR_RETURN(DynamicLayers found, FindDynamicLayers(model, index, options.weights()));
  for (v1::Skip& skip : found.skips) {
    // The constants behind folded weights are reported by what becomes of those.
    if (source_names.contains(skip.tensor())) continue;
    skip.set_tensor(source(skip.tensor()));
    *report.add_skips() = std::move(skip);
  }

  uint64_t total = 0;
  for (const CandidateWeight& weight : found.weights) total += weight.elements * sizeof(float);
  const WeightProgress::Sink half = [&](double fraction, std::string_view detail) {
    if (context.progress) context.progress(fraction / 2, detail);
  };
  WeightProgress progress(half, total);
  std::vector<DynamicWeight> weights;
  std::vector<bool> usable;
  for (size_t w = 0; w < found.weights.size(); ++w) {
    progress.Start(found.weights[w].name);
    MP_RETURN_IF_ERROR(context.job->cancellation->Check());
    MP_ASSIGN_OR_RETURN(
        DynamicWeight weight,
        EncodeDynamicWeight(model, found.weights[w], found.layouts[w], rule, per_channel,
                            *context.arena, *context.job, progress.callback()));
    usable.push_back(weight.finite);
    weights.push_back(std::move(weight));
  }
  std::vector<Unit> units = MakeUnits(found, usable);
  Chooser chooser(model, weights, options.limits(), context);
  MP_ASSIGN_OR_RETURN(const std::vector<const Unit*> chosen, chooser.Choose(units, &report));

  // A weight is changed if its unit was chosen.
  std::vector<const Unit*> unit_of(weights.size(), nullptr);
  for (const Unit& unit : units) {
    for (const DynamicLayer* layer : unit.layers) {
      for (const size_t w : layer->weights) unit_of[w] = &unit;
    }
  }
  for (size_t w = 0; w < weights.size(); ++w) {
    const CandidateWeight& weight = found.weights[w];
    const Unit* unit = unit_of[w];
    const std::string tensor = source(weight.name);
    if (unit == nullptr) {
      *report.add_skips() = MakeSkip(
          SkipReason::kNotFinite, tensor, weight.reader(),
          usable[w] ? "its layer's other weight holds NaN or infinity" : "holds NaN or infinity");
      continue;
    }
    if (std::ranges::find(chosen, unit) == chosen.end()) {
      *report.add_skips() =
          MakeSkip(SkipReason::kLossTooLarge, tensor, weight.reader(),
                   unit->failure.empty()
                       ? FormatString("alone it leaves {}; the limits are kept without it",
                                      Chooser::Describe(*unit->loss))
                       : FormatString("the runtime does not run it so: {}", unit->failure));
      continue;
    }
    Change& change = *report.add_changes();
    change.set_tensor(tensor);
    change.set_node(std::string(weight.reader()));
    const std::string_view op = weight.uses[0].node->op_type();
    const uint64_t scales = weights[w].scales.length / sizeof(float);
    change.set_what(FormatString("{} in integers: {} {}, {} scales, activations uint8", op,
                                 is_unsigned ? "uint8 asymmetric" : "int8",
                                 per_channel ? "per channel" : "per tensor", scales));
    if (weights[w].sums.noise > 0) {
      change.set_sqnr_db(10 * std::log10(weights[w].sums.signal / weights[w].sums.noise));
    }
    if (unit->loss.has_value()) change.set_model_sqnr_db(unit->loss->sqnr_db);
  }
  MP_RETURN_IF_ERROR(RequireChange(step, report));
  // A folded weight that stays float would be stored twice where others read its constant too.
  std::set<std::string> coded;
  for (const DynamicLayer* layer : LayersOf(chosen)) {
    for (const size_t w : layer->weights) coded.insert(weights[w].name);
  }
  for (const FoldedInput& input : folded) {
    if (!coded.contains(input.name)) input.node->set_input(input.input, input.original);
  }
  MP_RETURN_IF_ERROR(QuantizeDynamicLayers(model, weights, LayersOf(chosen)));
  RemoveDead(model.mutable_proto());
  report.set_weight_bytes_after(WeightBytes(model));
  return report;
}

std::vector<PassExample> QuantizeDynamicPass::examples() const {
  return {
      {"a MatMul; its bias is added as before",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}, float[2] b = {1, 2}>
          { h = MatMul(x, w)
            y = Add(h, b) })",
       "quantize_dynamic: {weights: {min_elements: 1}}",
       {"DynamicQuantizeLinear", "MatMulInteger", "Cast", "Mul", "Mul", "Add"},
       0.1},
      {"layers that read one value share its codes; a Gemm becomes a product and a sum",
       R"(<ir_version: 8, opset_import: ["" : 9]>
          g (float[2, 4] x) => (float[2, 2] y, float[2, 2] z)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9},
           float[2, 4] v = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}, float[2] b = {1, 2}>
          { y = MatMul(x, w)
            z = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, v, b) })",
       "quantize_dynamic: {type: uint8, weights: {min_elements: 1}}",
       {"DynamicQuantizeLinear", "MatMulInteger", "MatMulInteger", "Cast", "Mul", "Mul", "Cast",
        "Mul", "Mul", "Mul", "Mul", "Add"},
       0.1},
      {"an LSTM whose weights are put together from constants",
       R"(<ir_version: 8, opset_import: ["" : 14]>
          g (float[3, 1, 2] x) => (float[3, 1, 1, 2] y)
          <float[8, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9, 1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9},
           float[1, 8, 2] r = {0.5, -0.5, 0.25, 0.1, -0.3, 0.1, 0.7, -0.9, 0.1, -0.5, 0.25, 0.2, -0.3,
                               0.1, 0.7, -0.9},
           int64[1] axes = {0}>
          { u = Unsqueeze(w, axes)
            y = LSTM <hidden_size = 2> (x, u, r) })",
       "quantize_dynamic: {weights: {min_elements: 1}}",
       {"DynamicQuantizeLSTM"},
       0.1},
  };
}

}  // namespace

void RegisterPass_quantize_dynamic(PassRegistry& registry) {
  registry.Add(std::make_unique<QuantizeDynamicPass>());
}

}  // namespace modelpress
