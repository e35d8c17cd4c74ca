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
// Weights that no integer kernel reads are stored as codes all the same (stored_weights.h).
// Convolutions are among them unless `convolutions: faster` asks for more: alone, ConvInteger took
// 0.6 to 2.1 of the float Conv's time (ONNX Runtime 1.21, one core with VNNI, 11 shapes of ResNet and
// MobileNet), but a text detector, an angle classifier and a file-type classifier were no faster with
// those that were; and choosing by the clock does not give the same bytes every time.
//
// Safe by default: what was done is measured against the float model on calibration samples. Where
// it loses more than the limits allow, each layer is measured alone, and the costliest run in float,
// as few as will do; their weights are stored as codes if that is within the limits.
#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/convolution_speed.h"
#include "core/measure/dynamic_choice.h"
#include "core/passes/pass.h"
#include "core/passes/step_options.h"
#include "core/passes/stored_weights.h"
#include "core/quant/dynamic_layers.h"
#include "core/quant/function_inlining.h"
#include "core/quant/opset_conversion.h"
#include "core/quant/progress.h"
#include "core/quant/weight_selection.h"
#include "core/runtime/constant_expression.h"
#include "core/statistics/calibration_samples.h"

namespace modelpress {
namespace {

// Measured on one core; only for plans.
constexpr double kBytesPerSecond = 1e9;
// DynamicQuantizeLinear is of opset 11; 13 is what DequantizeLinear per channel needs, so that
// other passes find it done.
constexpr int64_t kNeededOpset = 11, kRaisedOpset = 13;
// Operators that never run in integers (Conv, the first, does where it is asked for), and all whose
// weights can be stored as codes.
constexpr std::string_view kFloatOperators[] = {"Conv", "ConvTranspose", "Gather", "GRU", "RNN"};
constexpr std::string_view kAllOperators[] = {"Conv", "ConvTranspose", "Gather", "GRU",
                                              "RNN",  "MatMul",        "Gemm",   "LSTM"};

// Samples on which each layer and each stored weight is measured alone.
constexpr uint64_t kJudgedAlone = 4;

bool ReadsIntegerWeight(const onnx::NodeProto& node, int input) {
  if (!IsDefaultDomain(node.domain())) return false;
  if (node.op_type() == "LSTM") return input == 1 || input == 2;
  return input == 1 && (node.op_type() == "MatMul" || node.op_type() == "Gemm");
}

// One run of the pass.
class Quantization {
 public:
  Quantization(Model& model, const QuantizeDynamic& options, PassContext& context,
               PassReport* report)
      : model_(model), options_(options), context_(context), report_(*report) {}

  absl::Status Run() {
    MP_RETURN_IF_ERROR(context_.job->cancellation->Check());
    ForEachTensor(model_.mutable_proto(), [&](const TensorSite& site) {
      if (!site.value_name.empty() && IsFloatingPoint(Type(*site.tensor))) {
        constants_.insert(site.value_name);
      }
    });
    InlineFunctions(model_, report_.mutable_notes());
    SeparateInitializersFromInputs(model_);
    MP_RETURN_IF_ERROR(RaiseOpset());
    MP_RETURN_IF_ERROR(MakeMeters());
    const bool others = !options_.has_other_weights() || options_.other_weights();
    if (others) {
      MP_RETURN_IF_ERROR(StoreOthers(
          std::span(kFloatOperators).subspan(integers_ && tries_convolutions_ ? 1 : 0), 0, 0.2));
    }
    if (integers_) MP_RETURN_IF_ERROR(QuantizeLayers(0.2, 0.9));
    if (others) MP_RETURN_IF_ERROR(StoreOthers(kAllOperators, 0.9, 1));
    for (v1::Skip& skip : not_integer_) AddSkip(std::move(skip));
    for (const v1::Skip& skip : skips_) {
      if (!changed_.contains(skip.tensor())) *report_.add_skips() = skip;
    }
    return absl::OkStatus();
  }

  // How often the calibration samples were run to measure candidates.
  uint32_t evaluations() const {
    if (meter_ == nullptr) return 0;
    const uint64_t all = meter_->samples_in_all();
    const uint64_t run =
        meter_->samples_run() + (alone_meter_ == nullptr ? 0 : alone_meter_->samples_run());
    return static_cast<uint32_t>((run + all - 1) / all);
  }

 private:
  WeightProgress::Sink Part(double from, double to) const {
    return [this, from, to](double fraction, std::string_view detail) {
      if (context_.progress) context_.progress(from + (to - from) * fraction, detail);
    };
  }

  // The first thing that is said about a constant of the caller's model counts.
  void AddSkip(v1::Skip skip) {
    if (!constants_.contains(skip.tensor()) || !skipped_.insert(skip.tensor()).second) return;
    skips_.push_back(std::move(skip));
  }

  void AddChange(Change change) {
    changed_.insert(change.tensor());
    *report_.add_changes() = std::move(change);
  }

  // Where there is a layer for integers, once weights are folded.
  absl::Status RaiseOpset() {
    const int64_t opset = model_.opset();
    if (opset >= kNeededOpset) return absl::OkStatus();
    Model probe = model_.Clone();
    MP_RETURN_IF_ERROR(
        FoldConstantInputs(probe, *context_.arena, ReadsIntegerWeight, *context_.job->cancellation)
            .status());
    const GraphIndex index(probe.mutable_proto());
    MP_ASSIGN_OR_RETURN(const DynamicLayers found,
                        FindDynamicLayers(probe, index, options_.weights(), tries_convolutions_));
    if (found.layers.empty()) return absl::OkStatus();
    const absl::Status converted = ConvertDefaultDomain(model_, kRaisedOpset);
    if (converted.ok()) {
      report_.add_notes(FormatString("opset {} was converted to {}: DynamicQuantizeLinear needs {}",
                                     opset, kRaisedOpset, kNeededOpset));
      return absl::OkStatus();
    }
    if (ReasonOf(converted) != ERROR_REASON_OPSET_UNSUPPORTED) return converted;
    integers_ = false;
    report_.add_notes(FormatString("no layer runs in integers: that needs opset {}, and {}",
                                   kNeededOpset, std::string(converted.message())));
    return absl::OkStatus();
  }

  absl::Status MakeMeters() {
    std::string note;
    MP_ASSIGN_OR_RETURN(meter_, MakeMeter(model_, context_.data, options_.limits(), context_.seed,
                                          *context_.arena, *context_.job, &note));
    if (!note.empty()) report_.add_notes(std::move(note));
    reference_ = model_.Clone();
    return absl::OkStatus();
  }

  absl::Status StoreOthers(std::span<const std::string_view> operators, double from, double to);
  // Layers and weights are measured alone on few samples: there are many of them.
  absl::StatusOr<const LossMeter*> AloneMeter() {
    if (alone_meter_ == nullptr) {
      MP_ASSIGN_OR_RETURN(alone_meter_,
                          LossMeter::Make(reference_, context_.data, kJudgedAlone, context_.seed,
                                          *context_.arena, *context_.job));
    }
    return alone_meter_.get();
  }

  absl::Status QuantizeLayers(double from, double to);
  void ReportLayers(const DynamicLayers& found, const std::vector<DynamicWeight>& weights,
                    const std::vector<DynamicUnit>& units);
  void ReportParts(const CandidateWeight& weight);

  // Names of folded weights mean nothing to anyone.
  const std::string& SourceOf(const std::string& name) const {
    const auto known = sources_.find(name);
    return known == sources_.end() ? name : known->second.front();
  }

  Model& model_;
  const QuantizeDynamic& options_;
  PassContext& context_;
  PassReport& report_;
  const bool per_channel_ = options_.granularity() != QuantizeWeights::GRANULARITY_PER_TENSOR;
  const AffineRule rule_ = {
      .type = options_.type() == QuantizeWeights::TYPE_UINT8 ? CodeType::kUint8 : CodeType::kInt8,
      .symmetric = options_.type() != QuantizeWeights::TYPE_UINT8};
  const bool tries_convolutions_ = options_.convolutions() == QuantizeDynamic::CONVOLUTIONS_FASTER;
  // Float constants before anything was changed.
  std::set<std::string> constants_;
  bool integers_ = true;
  // Null: nothing is measured.
  std::unique_ptr<LossMeter> meter_;
  // What they compare with.
  Model reference_;
  std::unique_ptr<LossMeter> alone_meter_;
  // The constants behind folded weights, the largest first.
  std::map<std::string, std::vector<std::string>> sources_;
  // Why constants are not read by integer layers.
  std::vector<v1::Skip> not_integer_;
  std::vector<v1::Skip> skips_;
  std::set<std::string> skipped_;
  std::set<std::string> changed_;
  // Weights that cost too much as codes.
  std::set<std::string> rejected_;
};

absl::Status Quantization::StoreOthers(std::span<const std::string_view> operators, double from,
                                       double to) {
  StoringOptions storing{.selection = options_.weights(),
                         .rule = rule_,
                         .per_channel = per_channel_,
                         .limits = options_.limits(),
                         .meter = meter_.get(),
                         .alone_meter = [this] { return AloneMeter(); }};
  storing.selection.clear_op_types();
  const auto& wanted = options_.weights().op_types();
  for (const std::string_view op : operators) {
    if (wanted.empty() || std::ranges::find(wanted, op) != wanted.end()) {
      storing.selection.add_op_types(std::string(op));
    }
  }
  for (const std::string& name : rejected_) storing.selection.add_exclude(ExactGlob(name));
  MP_ASSIGN_OR_RETURN(StoredWeights stored,
                      StoreWeights(model_, storing, Part(from, to), context_));
  for (v1::Skip& skip : stored.skips) {
    if (skip.reason() == SkipReasonName(SkipReason::kLossTooLarge)) rejected_.insert(skip.tensor());
    AddSkip(std::move(skip));
  }
  if (operators.size() == std::size(kAllOperators)) {
    for (v1::Skip& skip : stored.not_selected) AddSkip(std::move(skip));
  }
  if (stored.loss.has_value()) {
    report_.add_notes(
        FormatString("{} weights stored as codes and decoded when the model is loaded: {} on {}",
                     stored.changes.size(), Describe(*stored.loss), meter_->description()));
  }
  for (Change& change : stored.changes) {
    // Why it does not run in integers.
    const auto why = std::ranges::find(not_integer_, change.tensor(), &v1::Skip::tensor);
    if (why != not_integer_.end()) {
      change.set_what(FormatString("{}: {}", change.what(), why->detail()));
    }
    AddChange(std::move(change));
  }
  return absl::OkStatus();
}

absl::Status Quantization::QuantizeLayers(double from, double to) {
  MP_ASSIGN_OR_RETURN(
      const std::vector<FoldedInput> folded,
      FoldConstantInputs(model_, *context_.arena, ReadsIntegerWeight, *context_.job->cancellation));
  for (const FoldedInput& input : folded) {
    if (!input.sources.empty()) sources_[input.name] = input.sources;
  }
  const GraphIndex index(model_.mutable_proto());
  MP_ASSIGN_OR_RETURN(DynamicLayers found,
                      FindDynamicLayers(model_, index, options_.weights(), tries_convolutions_));

  uint64_t total = 0;
  for (const CandidateWeight& weight : found.weights) total += weight.elements * sizeof(float);
  const double middle = (from + to) / 2;
  const WeightProgress::Sink encoding = Part(from, middle), choosing = Part(middle, to);
  WeightProgress progress(encoding, total);
  std::vector<DynamicWeight> weights;
  std::vector<bool> usable;
  for (size_t w = 0; w < found.weights.size(); ++w) {
    progress.Start(found.weights[w].name);
    MP_RETURN_IF_ERROR(context_.job->cancellation->Check());
    MP_ASSIGN_OR_RETURN(
        DynamicWeight weight,
        EncodeDynamicWeight(model_, found.weights[w], found.layouts[w], rule_, per_channel_,
                            *context_.arena, *context_.job, progress.callback()));
    usable.push_back(weight.finite);
    weights.push_back(std::move(weight));
  }
  std::vector<DynamicUnit> units = MakeDynamicUnits(found, usable);
  if (tries_convolutions_) {
    MP_ASSIGN_OR_RETURN(const auto samples, OpenCalibrationSamples(model_, context_.data, 1, 1,
                                                                   context_.seed, *context_.job));
    MP_RETURN_IF_ERROR(LeaveOutSlowConvolutions(model_, weights, *samples, *context_.arena,
                                                *context_.job, &units));
    MP_ASSIGN_OR_RETURN(const std::optional<double> ratio,
                        LeaveOutUselessConvolutions(model_, weights, *samples, *context_.arena,
                                                    *context_.job, &units));
    if (ratio.has_value()) {
      report_.add_notes(FormatString(
          "with convolutions in integers the model takes {:.2f} of the time without", *ratio));
    }
  }
  if (meter_ != nullptr) {
    MP_ASSIGN_OR_RETURN(const std::optional<ModelLoss> loss,
                        ChooseDynamicUnits(
                            model_, weights, options_.limits(), *meter_,
                            [this] { return AloneMeter(); }, *context_.arena, choosing, &units));
    if (loss.has_value()) {
      report_.add_notes(FormatString("{} of {} layers run in integers: {} on {}",
                                     ChosenLayers(units).size(), found.layers.size(),
                                     Describe(*loss), meter_->description()));
    }
  }
  ReportLayers(found, weights, units);

  // A folded weight that stays float would be stored twice where others read its constant too.
  const std::vector<const DynamicLayer*> chosen = ChosenLayers(units);
  std::set<std::string> coded;
  for (const DynamicLayer* layer : chosen) {
    for (const size_t w : layer->weights) coded.insert(weights[w].name);
  }
  for (const FoldedInput& input : folded) {
    if (!coded.contains(input.name)) input.node->set_input(input.input, input.original);
  }
  MP_RETURN_IF_ERROR(QuantizeDynamicLayers(model_, weights, chosen, *context_.arena));
  RemoveDead(model_.mutable_proto());
  return absl::OkStatus();
}

void Quantization::ReportLayers(const DynamicLayers& found,
                                const std::vector<DynamicWeight>& weights,
                                const std::vector<DynamicUnit>& units) {
  std::vector<const DynamicUnit*> unit_of(weights.size(), nullptr);
  for (const DynamicUnit& unit : units) {
    for (const DynamicLayer* layer : unit.layers) {
      for (const size_t w : layer->weights) unit_of[w] = &unit;
    }
  }
  for (size_t w = 0; w < weights.size(); ++w) {
    const CandidateWeight& weight = found.weights[w];
    const DynamicUnit* unit = unit_of[w];
    const auto skip = [&](SkipReason reason, std::string_view detail) {
      not_integer_.push_back(MakeSkip(reason, SourceOf(weight.name), weight.reader(), detail));
    };
    if (unit == nullptr) {
      skip(SkipReason::kNotFinite, weights[w].finite
                                       ? "its layer's other weight holds NaN or infinity"
                                       : "holds NaN or infinity");
    } else if (!unit->chosen && weight.uses[0].node->op_type() == "Conv" &&
               !unit->alone.has_value()) {
      skip(
          SkipReason::kSlower,
          unit->time_ratio.has_value()
              ? FormatString("in integers it takes {:.2f} of the float Conv's time here, alone and "
                             "without what stands between layers",
                             *unit->time_ratio)
              : "its input was not seen, so that it could not be timed");
    } else if (!unit->failure.empty()) {
      skip(SkipReason::kLossTooLarge,
           FormatString("the runtime does not run it so: {}", unit->failure));
    } else if (!unit->chosen) {
      skip(SkipReason::kLossTooLarge,
           FormatString("alone in integers it leaves {}; the limits are kept without it",
                        Describe(*unit->alone)));
    } else {
      Change change;
      change.set_tensor(SourceOf(weight.name));
      change.set_node(std::string(weight.reader()));
      change.set_what(FormatString(
          "{} in integers: {} {}, {} scales, activations uint8", weight.uses[0].node->op_type(),
          weights[w].symmetric ? "int8" : "uint8 asymmetric",
          per_channel_ ? "per channel" : "per tensor", weights[w].scales.length / sizeof(float)));
      if (weights[w].sums.noise > 0) {
        change.set_sqnr_db(10 * std::log10(weights[w].sums.signal / weights[w].sums.noise));
      }
      change.set_bytes_before(weight.elements * sizeof(float));
      change.set_bytes_after(weights[w].codes.length + weights[w].scales.length);
      if (unit->alone.has_value()) change.set_model_sqnr_db(unit->alone->sqnr_db);
      if (unit->time_ratio.has_value()) {
        change.set_what(
            FormatString("{}, {:.2f} of the float time here", change.what(), *unit->time_ratio));
      }
      AddChange(std::move(change));
      ReportParts(weight);
    }
  }
  not_integer_.insert(not_integer_.end(), found.skips.begin(), found.skips.end());
}

// The other constants that a folded weight was put together from.
void Quantization::ReportParts(const CandidateWeight& weight) {
  const auto known = sources_.find(weight.name);
  if (known == sources_.end()) return;
  for (const std::string& part : known->second) {
    if (!constants_.contains(part) || changed_.contains(part)) continue;
    Change change;
    change.set_tensor(part);
    change.set_node(std::string(weight.reader()));
    change.set_what(FormatString("in one weight with {}", SourceOf(weight.name)));
    AddChange(std::move(change));
  }
}

class QuantizeDynamicPass final : public Pass {
 public:
  std::string_view name() const override { return "quantize_dynamic"; }
  std::string_view summary() const override {
    return "MatMul, Gemm and LSTM in 8-bit integers, activation ranges taken while running: "
           "smaller and faster, no calibration";
  }
  bool encodes_weights() const override { return true; }
  absl::Status Validate(const PassStep& step) const override {
    const QuantizeDynamic& options = step.quantize_dynamic();
    MP_RETURN_IF_ERROR(ValidateLimits(options.limits(), "quantize_dynamic.limits"));
    return ValidateSelection(options.weights(), "quantize_dynamic.weights");
  }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    // The runtime holds one sample's activations; codes are written twice where they are
    // transposed.
    return {256 << 20, bytes / 2 + bytes / 16 + (4 << 20),
            1 + static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override {
    Quantization quantization(model, step.quantize_dynamic(), context, &report);
    MP_RETURN_IF_ERROR(quantization.Run());
    report.set_evaluations(quantization.evaluations());
    return absl::OkStatus();
  }
  std::vector<PassExample> examples() const override;
  std::vector<std::vector<PassStep>> tuning_candidates() const override {
    PassStep step;
    step.mutable_quantize_dynamic();
    return {{step}};
  }
};

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
      {"a convolution computes in float; its weight is stored as codes",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 1, 4] x) => (float[1, 2, 1] y)
          <float[2, 1, 4] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}, float[2] b = {1, 2}>
          { y = Conv(x, w, b) })",
       "quantize_dynamic: {weights: {min_elements: 1}}",
       {"Cast", "Mul", "Conv"},
       0.1},
  };
}

}  // namespace

void RegisterPass_quantize_dynamic(PassRegistry& registry) {
  registry.Add(std::make_unique<QuantizeDynamicPass>());
}

}  // namespace modelpress
