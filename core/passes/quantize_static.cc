// quantize_static: Conv, MatMul and Gemm in 8-bit integers with activation ranges that calibration
// fixes.
//
//   x -> QuantizeLinear -> DequantizeLinear -.
//   W int8 ------------> DequantizeLinear ---+-> Conv -> QuantizeLinear -> DequantizeLinear -> y
//   B int32 -----------> DequantizeLinear ---'
//
//   activations  uint8: scale = (max - min) / 255, zero_point = round(-min / scale), the range
//                holding 0; or int8, or symmetric
//   weights      int8, scale = max|w| / 127 for each output channel
//   biases       int32, scale = scale_x * scale_w
//   (ONNX Runtime's quantizer, quant_utils.py, bit for bit; see affine.h)
//
// The pairs stand where ONNX Runtime 1.21 replaces them by integer kernels and nowhere else (see
// qdq_flow.h). BatchNormalization is folded first.
//
// Safe by default: the ways to choose ranges are tried on calibration samples and the best is kept;
// where the model then loses more than the limits allow, each layer is measured alone and the
// costliest for their work stay in float, as few as will do.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/bias_correction.h"
#include "core/measure/model_loss.h"
#include "core/measure/static_options.h"
#include "core/measure/static_quantizer.h"
#include "core/passes/coding_pass.h"
#include "core/quant/affine_folding.h"
#include "core/quant/batch_norm_folding.h"
#include "core/quant/function_inlining.h"
#include "core/quant/weight_selection.h"
#include "core/runtime/profile.h"
#include "core/statistics/calibration_samples.h"

namespace modelpress {
namespace {

constexpr double kDefaultAgreement = 0.98, kDefaultSqnrDb = 20;
constexpr uint64_t kDefaultCalibration = 512, kSyntheticSamples = 16;
// Samples on which candidates are judged, and on which each layer is measured alone.
constexpr uint64_t kJudged = 64, kJudgedAlone = 8;
// Multiply-accumulates that measuring layers alone may take: some minutes of one core.
constexpr double kAloneBudget = 3e12;

bool IsOneOf(const google::protobuf::RepeatedPtrField<std::string>& globs, const QdqLayer& layer) {
  return std::ranges::any_of(globs, [&](const std::string& glob) {
    return GlobMatches(glob, layer.node) || GlobMatches(glob, layer.key.value);
  });
}

std::string NameOf(const RangeRule& rule) {
  switch (rule.method) {
    case RangeMethod::kMinMax:
      return "minmax";
    case RangeMethod::kPercentile:
      return FormatString("percentile {}", rule.percentile);
    case RangeMethod::kEntropy:
      return "entropy";
    case RangeMethod::kMse:
      return "mse";
  }
  return "";
}

std::string Describe(const ModelLoss& loss) {
  std::string text = FormatString("{:.1f} dB", loss.sqnr_db);
  if (loss.agreement.has_value()) text += FormatString(", agreement {:.4f}", *loss.agreement);
  return text;
}

// Less noise, and no more changed decisions: classes are what users look at, and noise alone does not tell of them.
bool IsBetter(const ModelLoss& candidate, const ModelLoss& best) {
  return candidate.sqnr_db > best.sqnr_db &&
         candidate.agreement.value_or(1) >= best.agreement.value_or(0);
}

// One run of the pass.
class Quantization {
 public:
  Quantization(Model& model, const QuantizeStatic& options, PassContext& context,
               PassReport* report)
      : model_(model), options_(options), context_(context), report_(*report) {}

  absl::Status Run() {
    MP_RETURN_IF_ERROR(Prepare());
    if (layers_.empty()) return CodeOtherWeights();
    MP_RETURN_IF_ERROR(Calibrate());
    MP_RETURN_IF_ERROR(ChooseRanges());
    MP_RETURN_IF_ERROR(CorrectBiases());
    if (!Within(loss_)) MP_RETURN_IF_ERROR(ChooseExceptions());
    MP_ASSIGN_OR_RETURN(Model quantized, quantizer_->Build(active_));
    model_ = std::move(quantized);
    MP_RETURN_IF_ERROR(ReportLayers());
    return CodeOtherWeights();
  }

 private:
  void Progress(double fraction, std::string_view detail) const {
    if (context_.progress) context_.progress(fraction, detail);
  }

  // Names, folded BatchNormalizations, the opset that the result needs, and the layers.
  absl::Status Prepare() {
    MP_RETURN_IF_ERROR(context_.job->cancellation->Check());
    ForEachTensor(model_.mutable_proto(), [&](const TensorSite& site) {
      if (!site.value_name.empty() && IsFloatingPoint(Type(*site.tensor))) {
        constants_.insert(site.value_name);
      }
    });
    InlineFunctions(model_, report_.mutable_notes());
    SeparateInitializersFromInputs(model_);
    NameNodes(model_.mutable_proto());
    MP_ASSIGN_OR_RETURN(const BatchNormFolding folding,
                        FoldBatchNorms(model_, *context_.arena, *context_.job));
    if (!folding.changes.empty()) {
      report_.add_notes(FormatString("{} BatchNormalization nodes were folded into the layer before",
                                    folding.changes.size()));
    }
    MP_ASSIGN_OR_RETURN(const AffineFolding affine,
                        FoldAffine(model_, *context_.arena, *context_.job));
    if (affine.into_convolutions > 0) {
      report_.add_notes(FormatString("{} constant factors and summands were folded into convolutions",
                                    affine.into_convolutions));
    }
    if (affine.hard_swish > 0) {
      report_.add_notes(FormatString("{} hard-swishes in four steps became two operators each",
                                    affine.hard_swish));
    }
    for (const bool again : {true, false}) {
      const GraphIndex index(model_.mutable_proto());
      MP_ASSIGN_OR_RETURN(QdqLayers found, FindQdqLayers(model_, index));
      if (again && !found.layers.empty()) {
        // Where there is nothing to do, the opset stays as it is. Converting moves nodes.
        MP_RETURN_IF_ERROR(
            PrepareOpset(model_, &quantization_.per_channel, report_.mutable_notes()));
        continue;
      }
      for (QdqLayer& layer : found.layers) {
        if (Selected(layer)) layers_.push_back(std::move(layer));
      }
      for (v1::Skip& skip : found.skips) *report_.add_skips() = std::move(skip);
      break;
    }
    return absl::OkStatus();
  }

  bool Selected(const QdqLayer& layer) {
    std::string_view why;
    const auto& types = options_.op_types();
    if (!types.empty() && std::ranges::find(types, layer.op_type) == types.end()) {
      why = "not among op_types";
    } else if (!options_.include().empty() && !IsOneOf(options_.include(), layer)) {
      why = "no glob of include matches";
    } else if (IsOneOf(options_.exclude(), layer)) {
      why = "a glob of exclude matches";
    }
    if (why.empty()) return true;
    *report_.add_skips() = MakeSkip(SkipReason::kExcluded, "", layer.node, why);
    return false;
  }

  absl::Status Calibrate() {
    const uint64_t count =
        options_.max_samples() > 0 ? options_.max_samples() : kDefaultCalibration;
    MP_ASSIGN_OR_RETURN(samples_,
                        OpenCalibrationSamples(model_, context_.data, count,
                                               std::min(count, kSyntheticSamples), context_.seed));
    MP_ASSIGN_OR_RETURN(
        quantizer_,
        StaticQuantizer::Make(model_, layers_, quantization_, /*histograms=*/true, *samples_,
                              *context_.arena, *context_.job,
                              [this](double fraction) { Progress(fraction * 0.3, "calibration"); }));
    report_.add_notes(FormatString("ranges from {} samples: {}", samples_->size(),
                                  samples_->description()));
    if (samples_->synthetic()) {
      report_.add_notes(
          "without data the ranges are those of synthetic samples: give calibration data");
    }
    active_ = quantizer_->AllUsable();
    return absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<LossMeter>> MakeMeter(uint64_t samples) {
    return LossMeter::Make(model_, context_.data, samples, context_.seed, *context_.arena,
                           *context_.job);
  }

  // A candidate that does not load or run has lost everything.
  absl::StatusOr<ModelLoss> Measure(const LossMeter& meter, const std::vector<bool>& active) {
    MP_ASSIGN_OR_RETURN(const Model candidate, quantizer_->Build(active));
    auto loss = meter.Measure(candidate);
    if (loss.ok()) return loss;
    const ErrorReason reason = ReasonOf(loss.status());
    if (reason != ERROR_REASON_OP_UNSUPPORTED && reason != ERROR_REASON_MODEL_MALFORMED &&
        reason != ERROR_REASON_RUNTIME_FAILED) {
      return loss;
    }
    failure_ = std::string(loss.status().message());
    return ModelLoss{.sqnr_db = -std::numeric_limits<double>::infinity(), .agreement = 0.0};
  }

  absl::Status ChooseRanges() {
    const std::vector<RangeRule> rules = RangeRulesOf(options_);
    if (options_.limits().off() && rules.size() == 1) {
      loss_ = {.sqnr_db = std::numeric_limits<double>::infinity()};
      rule_ = rules[0];
      return quantizer_->UseRanges(rule_);
    }
    const uint64_t judged =
        options_.limits().max_samples() > 0 ? options_.limits().max_samples() : kJudged;
    MP_ASSIGN_OR_RETURN(meter_, MakeMeter(judged));
    std::string tried;
    std::optional<size_t> best;
    for (size_t i = 0; i < rules.size(); ++i) {
      MP_RETURN_IF_ERROR(quantizer_->UseRanges(rules[i]));
      MP_ASSIGN_OR_RETURN(const ModelLoss loss, Measure(*meter_, active_));
      tried += FormatString("{}{} {}", i > 0 ? "; " : "", NameOf(rules[i]), Describe(loss));
      if (!best.has_value() || IsBetter(loss, loss_)) {
        best = i;
        loss_ = loss;
      }
      Progress(0.3 + 0.2 * static_cast<double>(i + 1) / static_cast<double>(rules.size()),
               NameOf(rules[i]));
    }
    rule_ = rules[*best];
    MP_RETURN_IF_ERROR(quantizer_->UseRanges(rule_));
    report_.add_notes(FormatString("ranges by {}, of all layers in integers on {}: {}",
                                  NameOf(rules[*best]), meter_->description(), tried));
    return absl::OkStatus();
  }

  // Kept if the model as a whole loses less with it.
  absl::Status CorrectBiases() {
    const bool wanted = !options_.has_correct_bias() || options_.correct_bias();
    if (!wanted || meter_ == nullptr) return absl::OkStatus();
    MP_ASSIGN_OR_RETURN(Model quantized, quantizer_->Build(active_));
    MP_ASSIGN_OR_RETURN(const std::vector<BiasCorrection> corrections,
                        MeasureBiasCorrections(quantized, model_, *samples_, *context_.job));
    uint64_t channels = 0, kept = 0;
    for (const BiasCorrection& row : corrections) {
      channels += row.channels;
      kept += row.kept;
    }
    if (kept == 0) return absl::OkStatus();
    Model before = model_.Clone();
    MP_RETURN_IF_ERROR(ShiftBiases(model_, corrections, *context_.arena));
    MP_RETURN_IF_ERROR(quantizer_->UseRanges(rule_));
    MP_ASSIGN_OR_RETURN(const ModelLoss loss, Measure(*meter_, active_));
    const bool better = IsBetter(loss, loss_);
    report_.add_notes(FormatString(
        "bias correction {}: {} of {} channels lower the error on held-back samples; {} with it, {} "
        "without",
        better ? "applied" : "left out", kept, channels, Describe(loss), Describe(loss_)));
    if (better) {
      loss_ = loss;
      return absl::OkStatus();
    }
    model_ = std::move(before);
    return quantizer_->UseRanges(rule_);
  }

  bool Within(const ModelLoss& loss) const {
    const LossLimits& limits = options_.limits();
    if (limits.off()) return true;
    const double sqnr = limits.has_min_sqnr_db() ? limits.min_sqnr_db() : kDefaultSqnrDb;
    const double agreement =
        limits.has_min_agreement() ? limits.min_agreement() : kDefaultAgreement;
    return loss.sqnr_db >= sqnr && (!loss.agreement.has_value() || *loss.agreement >= agreement);
  }

  // Each layer alone; then the fewest of the worst whose absence is enough, by bisection. Worst is
  // who adds most noise for the work that it would do in integers.
  absl::Status ChooseExceptions() {
    const auto& layers = quantizer_->layers();
    std::vector<size_t> order;
    double macs = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
      macs += layers[i].macs;
      if (active_[i]) order.push_back(i);
    }
    const double feeds = kAloneBudget / std::max(1.0, macs * static_cast<double>(order.size()));
    MP_ASSIGN_OR_RETURN(
        const auto alone_meter,
        MakeMeter(static_cast<uint64_t>(std::clamp(feeds, 1.0, static_cast<double>(kJudgedAlone)))));
    alone_.resize(layers.size());
    std::vector<double> score(layers.size());
    for (size_t n = 0; n < order.size(); ++n) {
      const size_t i = order[n];
      std::vector<bool> alone(layers.size(), false);
      alone[i] = true;
      MP_ASSIGN_OR_RETURN(const ModelLoss loss, Measure(*alone_meter, alone));
      alone_[i] = loss;
      const double share = macs > 0 ? layers[i].macs / macs : 0;
      score[i] = std::pow(10, -loss.sqnr_db / 10) / (share + 0.01);
      Progress(0.5 + 0.4 * static_cast<double>(n + 1) / static_cast<double>(order.size()),
               layers[i].layer.node);
    }
    std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return score[i]; });
    const std::vector<bool> all = active_;
    const auto without = [&](size_t count) {
      std::vector<bool> active = all;
      for (size_t n = 0; n < count; ++n) active[order[n]] = false;
      return active;
    };
    size_t enough = order.size(), too_few = 0;
    while (enough - too_few > 1) {
      const size_t middle = too_few + (enough - too_few) / 2;
      MP_ASSIGN_OR_RETURN(const ModelLoss loss, Measure(*meter_, without(middle)));
      (Within(loss) ? enough : too_few) = middle;
    }
    active_ = without(enough);
    MP_ASSIGN_OR_RETURN(loss_, Measure(*meter_, active_));
    report_.add_notes(FormatString("{} of {} layers stay in float32: {} on {}", enough, order.size(),
                                  Describe(loss_), meter_->description()));
    return absl::OkStatus();
  }

  absl::Status ReportLayers() {
    if (!failure_.empty()) {
      report_.add_notes(FormatString("a candidate was passed over, since it did not run: {}", failure_));
    }
    MP_ASSIGN_OR_RETURN(const OptimizedGraph optimized,
                        InspectOptimizedGraph(model_, static_cast<int>(context_.job->pool->threads()),
                                              *context_.job->scratch));
    double integer = 0, all = 0;
    const auto& layers = quantizer_->layers();
    for (size_t i = 0; i < layers.size(); ++i) {
      const StaticLayer& entry = layers[i];
      const std::string tensor = TensorOf(entry.layer);
      all += entry.macs;
      if (!entry.problem.empty()) {
        *report_.add_skips() =
            MakeSkip(SkipReason::kNotObserved, tensor, entry.layer.node, entry.problem);
        continue;
      }
      if (!active_[i]) {
        *report_.add_skips() = MakeSkip(
            SkipReason::kLossTooLarge, tensor, entry.layer.node,
            FormatString("alone it leaves {}; the limits are kept without it", Describe(*alone_[i])));
        continue;
      }
      Change& change = *report_.add_changes();
      change.set_tensor(tensor);
      change.set_node(entry.layer.node);
      change.set_what(What(entry));
      if (entry.weight_sqnr_db.has_value()) change.set_sqnr_db(*entry.weight_sqnr_db);
      if (!alone_.empty()) change.set_model_sqnr_db(alone_[i]->sqnr_db);
      ActivationGrid& grid = *change.mutable_activations();
      grid.set_min(entry.range.min);
      grid.set_max(entry.range.max);
      grid.set_clipped_share(entry.clipped_share);
      if (entry.activation_sqnr_db.has_value()) grid.set_sqnr_db(*entry.activation_sqnr_db);
      grid.set_macs(entry.macs);
      grid.set_saturating_pairs(entry.saturating_pairs);
      grid.set_raised_channels(entry.raised_channels);
      const auto kernel = optimized.nodes.find(entry.layer.node);
      const bool is_integer = kernel != optimized.nodes.end() && IsIntegerKernel(kernel->second);
      grid.set_integer_kernel(is_integer);
      if (is_integer) integer += entry.macs;
      if (!layers_[i].has_bias || !quantization_.rewrite.integer_bias) continue;
      Change& bias = *report_.add_changes();
      bias.set_tensor(layers_[i].bias_name);
      bias.set_node(entry.layer.node);
      bias.set_what("bias as int32");
    }
    if (all > 0) report_.set_integer_mac_share(integer / all);
    if (Is16Bit(options_.activation_type())) {
      report_.add_notes("16-bit activations are a simulation: the runtime computes in float between "
                        "codes, and is not faster");
    }
    return absl::OkStatus();
  }

  static bool IsIntegerKernel(std::string_view type) {
    return type.contains("QLinear") || type.contains("QGemm") || type.contains("MatMulInteger");
  }

  static const std::string& TensorOf(const QdqLayer& layer) {
    return layer.weight.has_value() ? layer.weight_name : layer.key.value;
  }

  std::string What(const StaticLayer& entry) const {
    const ActivationRule& rule = quantization_.rewrite.activations;
    std::string text = FormatString("{}: activations {}{}", entry.layer.op_type,
                                   DataTypeName(rule.type), rule.symmetric ? " symmetric" : "");
    if (entry.weight.has_value()) {
      text += FormatString(", weight {} {}", DataTypeName(entry.weight->type),
                          entry.weight->axis.has_value() ? "per channel" : "per tensor");
    }
    return text;
  }

  // Weights that stay with float kernels, as codes.
  absl::Status CodeOtherWeights();

  Model& model_;
  const QuantizeStatic& options_;
  PassContext& context_;
  PassReport& report_;
  StaticQuantization quantization_ = QuantizationOf(options_);
  std::vector<QdqLayer> layers_;
  // Float constants before anything was changed.
  std::set<std::string> constants_;
  std::unique_ptr<StaticQuantizer> quantizer_;
  std::unique_ptr<Samples> samples_;
  std::unique_ptr<LossMeter> meter_;
  RangeRule rule_;
  std::vector<bool> active_;
  std::vector<std::optional<ModelLoss>> alone_;
  ModelLoss loss_;
  std::string failure_;
};

absl::Status Quantization::CodeOtherWeights() {
  if (options_.has_other_weights() && !options_.other_weights()) return absl::OkStatus();
  v1::WeightSelection selection;
  for (const char* op : {"Gather", "ConvTranspose", "LSTM", "GRU", "RNN"}) {
    selection.add_op_types(op);
  }
  *selection.mutable_exclude() = options_.exclude();
  PassReport others;
  MP_RETURN_IF_ERROR(CodeWeights(
      model_, options_.granularity(), selection, AffineRule{}, context_,
      [&](bool per_channel, WeightProgress& progress, CodedWeight* coded, Change* change) {
        return EncodeByRounding(model_, context_, per_channel, progress, coded, change);
      },
      &others));
  for (Change& change : *others.mutable_changes()) {
    change.set_what("only stored in codes: " + change.what());
    *report_.add_changes() = std::move(change);
  }
  report_.mutable_notes()->MergeFrom(others.notes());
  std::set<std::string> reported;
  for (const Change& change : report_.changes()) reported.insert(change.tensor());
  for (const v1::Skip& skip : report_.skips()) reported.insert(skip.tensor());
  for (v1::Skip& skip : *others.mutable_skips()) {
    // Only what was a weight of the caller's model, and once.
    if (!constants_.contains(skip.tensor()) || reported.contains(skip.tensor())) continue;
    *report_.add_skips() = std::move(skip);
  }
  return absl::OkStatus();
}

class QuantizeStaticPass final : public Pass {
 public:
  std::string_view name() const override { return "quantize_static"; }
  std::string_view summary() const override {
    return "Conv, MatMul and Gemm in 8-bit integers with ranges from calibration data: smaller and "
           "faster";
  }
  absl::Status Validate(const PassStep& step) const override {
    return ValidateStaticOptions(step.quantize_static());
  }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    // The runtime holds one sample's activations; statistics take 64 KiB a value.
    return {192 << 20, bytes / 2 + (16 << 20), 5 + static_cast<double>(bytes) / 1e8};
  }
  absl::StatusOr<PassReport> Run(Model& model, const PassStep& step,
                                 PassContext& context) const override {
    PassReport report;
    report.set_pass(std::string(name()));
    report.set_weight_bytes_before(WeightBytes(model));
    MP_RETURN_IF_ERROR(Quantization(model, step.quantize_static(), context, &report).Run());
    MP_RETURN_IF_ERROR(RequireChange(step, report));
    report.set_weight_bytes_after(WeightBytes(model));
    return report;
  }
  std::vector<PassExample> examples() const override;
  std::vector<std::vector<PassStep>> tuning_candidates() const override {
    PassStep step;
    step.mutable_quantize_static();
    return {{step}};
  }
};

std::vector<PassExample> QuantizeStaticPass::examples() const {
  return {
      {"a MatMul: its input is quantized, its output is float",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}>
          { y = MatMul(x, w) })",
       "quantize_static: {limits: {min_agreement: 0.8}}",
       {"QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"},
       0.4},
      {"a Conv: its output is quantized too, behind the Relu, which the grid's clipping replaces",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 1, 4, 4] x) => (float[1, 2, 4, 4] y)
          <float[2, 1, 1, 1] w = {0.5, -2}, float[2] b = {0.1, -0.2}>
          { h = Conv(x, w, b)
            y = Relu(h) })",
       "quantize_static: {range: minmax}",
       {"QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv", "Relu",
        "QuantizeLinear", "DequantizeLinear"},
       0.4},
  };
}

}  // namespace

void RegisterPass_quantize_static(PassRegistry& registry) {
  registry.Add(std::make_unique<QuantizeStaticPass>());
}

}  // namespace modelpress
