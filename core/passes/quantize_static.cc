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
// where the model then loses more than the limits allow, the layers that cost most for their work stay
// in float, as few as will do. Ranges are fitted on some samples and judged on others.
#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/loss_limits.h"
#include "core/measure/static_choice.h"
#include "core/measure/static_options.h"
#include "core/measure/static_quantizer.h"
#include "core/measure/static_report.h"
#include "core/passes/pass.h"
#include "core/passes/stored_weights.h"
#include "core/quant/affine_folding.h"
#include "core/quant/batch_norm_folding.h"
#include "core/quant/code_weight.h"
#include "core/quant/function_inlining.h"
#include "core/quant/weight_selection.h"
#include "core/runtime/profile.h"
#include "core/statistics/calibration_samples.h"

namespace modelpress {
namespace {

constexpr uint64_t kDefaultCalibration = 512, kSyntheticSamples = 16;
// Every n-th feed is held back: ranges are fitted on the others, candidates are judged on these.
constexpr uint64_t kHoldBack = 4;
// Samples on which layers are compared and ranked; fewer where a model is so large that they would
// take more multiply-accumulates than this, as well as judging: some tens of seconds of one core.
constexpr uint64_t kCompared = 8;
constexpr double kMacBudget = 1e12;
// How often judging and comparing run the model, roughly.
constexpr double kRuns = 24;
// The share of the time that calibration takes, as progress says.
constexpr double kCalibrated = 0.3;

bool IsOneOf(const google::protobuf::RepeatedPtrField<std::string>& globs, const QdqLayer& layer) {
  return std::ranges::any_of(globs, [&](const std::string& glob) {
    return GlobMatches(glob, layer.node) || GlobMatches(glob, layer.key.value);
  });
}

// One run of the pass.
class Quantization {
 public:
  Quantization(Model& model, const QuantizeStatic& options, PassContext& context,
               PassReport* report)
      : model_(model), options_(options), context_(context), report_(*report) {}

  absl::Status Run() {
    if (!options_.complete()) {
      MP_ASSIGN_OR_RETURN(const bool kept, KeepQuantized());
      if (kept) return absl::OkStatus();
    }
    MP_RETURN_IF_ERROR(Prepare());
    if (layers_.empty()) return CodeOtherWeights();
    MP_RETURN_IF_ERROR(Calibrate());
    MP_RETURN_IF_ERROR(Choose());
    MP_ASSIGN_OR_RETURN(Model quantized, quantizer_->Build(findings_.forms));
    model_ = std::move(quantized);
    MP_RETURN_IF_ERROR(Report());
    return CodeOtherWeights();
  }

  // How often the calibration samples were run to measure candidates.
  uint32_t evaluations() const {
    const uint64_t run = (meter_ == nullptr ? 0 : meter_->samples_run()) + other_run_;
    return all_samples_ == 0 ? 0 : static_cast<uint32_t>((run + all_samples_ - 1) / all_samples_);
  }

 private:
  void Progress(double fraction, std::string_view detail) const {
    if (context_.progress) context_.progress(fraction, detail);
  }

  // Whether the model is quantized already and therefore stays as it is.
  absl::StatusOr<bool> KeepQuantized() {
    Model copy = model_.Clone();
    NameNodes(copy.mutable_proto());
    const GraphIndex index(copy.mutable_proto());
    if (!HasQuantizedActivations(copy.mutable_proto(), index)) return false;
    MP_ASSIGN_OR_RETURN(QdqLayers found, FindQdqLayers(copy, index));
    for (const QdqLayer& layer : found.layers) {
      *report_.add_skips() =
          MakeSkip(SkipReason::kAlreadyQuantized, layer.weight_name, layer.node,
                   "the model is quantized already, and this layer is float in it; with complete: "
                   "true it is quantized too");
    }
    for (v1::Skip& skip : found.skips) *report_.add_skips() = std::move(skip);
    return true;
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
    MP_ASSIGN_OR_RETURN(const AffineFolding affine,
                        FoldAffine(model_, *context_.arena, *context_.job));
    // Some stand behind a summand that is folded now.
    MP_ASSIGN_OR_RETURN(const BatchNormFolding rest,
                        FoldBatchNorms(model_, *context_.arena, *context_.job));
    if (const size_t folded = folding.changes.size() + rest.changes.size(); folded > 0) {
      report_.add_notes(
          FormatString("{} BatchNormalization nodes were folded into the layer before", folded));
    }
    if (affine.into_convolutions > 0) {
      report_.add_notes(
          FormatString("{} constant factors and summands were folded into convolutions",
                       affine.into_convolutions));
    }
    if (affine.hard_swish > 0) {
      report_.add_notes(FormatString("{} hard-swishes in four steps became two operators each",
                                     affine.hard_swish));
    }
    MP_RETURN_IF_ERROR(FindLayers());
    reference_ = model_.Clone();
    return absl::OkStatus();
  }

  absl::Status FindLayers() {
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
    MP_ASSIGN_OR_RETURN(samples_, OpenCalibrationSamples(model_, context_.data, count,
                                                         std::min(count, kSyntheticSamples),
                                                         context_.seed, *context_.job));
    all_samples_ = samples_->batches();
    const std::vector<RangeRule> rules = RangeRulesOf(options_);
    const bool measured = rules.size() > 1 || !options_.limits().off();
    const bool hold_back = measured && samples_->batches() >= kHoldBack;
    fit_.emplace(hold_back ? SamplePart::WithoutEvery(*samples_, kHoldBack)
                           : SamplePart::Spread(*samples_, samples_->batches()));
    held_back_.emplace(hold_back ? SamplePart::Every(*samples_, kHoldBack)
                                 : SamplePart::Spread(*samples_, samples_->batches()));
    const bool histograms = measured || rules[0].method != RangeMethod::kMinMax;
    MP_ASSIGN_OR_RETURN(
        quantizer_, StaticQuantizer::Make(model_, layers_, quantization_, histograms, *fit_,
                                          *context_.arena, *context_.job, [this](double fraction) {
                                            Progress(fraction * kCalibrated, "calibration");
                                          }));
    report_.add_notes(FormatString(
        "ranges from {} samples: {}{}", fit_->size(), samples_->description(),
        hold_back ? FormatString("; {} held back to judge on", held_back_->size()) : ""));
    if (samples_->synthetic()) {
      report_.add_notes(
          "without data the ranges are those of synthetic samples: give calibration data");
    }
    double macs = 1;
    for (const StaticLayer& layer : quantizer_->layers()) macs += layer.macs;
    const auto affordable = [&](uint64_t wanted) {
      const double most = std::clamp(kMacBudget / kRuns / macs, 1.0, static_cast<double>(wanted));
      return SamplePart::Spread(*held_back_, static_cast<uint64_t>(most));
    };
    compared_.emplace(affordable(kCompared));
    if (!measured) return absl::OkStatus();
    const uint64_t wanted =
        options_.limits().max_samples() > 0 ? options_.limits().max_samples() : kJudgedSamples;
    judged_.emplace(options_.limits().max_samples() > 0 ? SamplePart::Spread(*held_back_, wanted)
                                                        : affordable(wanted));
    MP_ASSIGN_OR_RETURN(meter_, LossMeter::On(model_, *judged_, *context_.arena, *context_.job));
    return absl::OkStatus();
  }

  // Of ranges, biases and layers.
  absl::Status Choose() {
    if (meter_ == nullptr) {
      findings_.forms = quantizer_->AllInteger();
      return quantizer_->UseRanges(RangeRulesOf(options_)[0]);
    }
    MP_ASSIGN_OR_RETURN(StaticChoice choice,
                        ChooseStatic({.model = model_,
                                      .options = options_,
                                      .quantizer = *quantizer_,
                                      .fit = *fit_,
                                      .compared = *compared_,
                                      .meter = *meter_,
                                      .arena = *context_.arena,
                                      .job = *context_.job,
                                      .progress = [this](double fraction, std::string_view detail) {
                                        Progress(kCalibrated + (1 - kCalibrated) * fraction,
                                                 detail);
                                      }}));
    findings_ = std::move(choice.findings);
    other_run_ += choice.samples_run;
    for (std::string& note : choice.notes) report_.add_notes(std::move(note));
    if (!choice.failure.empty()) {
      report_.add_notes(
          FormatString("a candidate was passed over, since it did not run: {}", choice.failure));
    }
    return absl::OkStatus();
  }

  absl::Status Report() {
    MP_ASSIGN_OR_RETURN(
        const OptimizedGraph optimized,
        InspectOptimizedGraph(model_, static_cast<int>(context_.job->pool->threads()),
                              *context_.job->scratch));
    ReportStaticLayers(*quantizer_, quantization_, findings_, optimized, &report_);
    if (Is16Bit(options_.activation_type())) {
      report_.add_notes(
          "16-bit activations are a simulation: the runtime computes in float between "
          "codes, and is not faster");
    }
    return absl::OkStatus();
  }

  // Weights that stay with float kernels, as codes.
  absl::Status CodeOtherWeights();

  Model& model_;
  const QuantizeStatic& options_;
  PassContext& context_;
  PassReport& report_;
  StaticQuantization quantization_ = QuantizationOf(options_);
  std::vector<QdqLayer> layers_;
  // In float, as it is before it is quantized.
  Model reference_;
  // Float constants before anything was changed.
  std::set<std::string> constants_;
  std::unique_ptr<Samples> samples_;
  // Parts of the samples: ranges are fitted on the first, the others are of what is held back.
  std::optional<SamplePart> fit_, held_back_, compared_, judged_;
  std::unique_ptr<StaticQuantizer> quantizer_;
  // Null if nothing is to be measured.
  std::unique_ptr<LossMeter> meter_;
  // Calibration samples, and how many of them other meters have run.
  uint64_t all_samples_ = 0, other_run_ = 0;
  StaticFindings findings_;
};

// Within the limits, as everything else.
absl::Status Quantization::CodeOtherWeights() {
  if (options_.has_other_weights() && !options_.other_weights()) return absl::OkStatus();
  std::unique_ptr<LossMeter> own_meter, few;
  if (meter_ == nullptr) {
    std::string note;
    MP_ASSIGN_OR_RETURN(own_meter, MakeMeter(reference_, context_.data, options_.limits(),
                                             context_.seed, *context_.arena, *context_.job, &note));
    if (!note.empty()) report_.add_notes(std::move(note));
  }
  StoringOptions storing{
      .per_channel = options_.granularity() != QuantizeWeights::GRANULARITY_PER_TENSOR,
      .limits = options_.limits(),
      .meter = meter_ != nullptr ? meter_.get() : own_meter.get(),
      .alone_meter = [&]() -> absl::StatusOr<const LossMeter*> {
        MP_ASSIGN_OR_RETURN(few, LossMeter::Make(reference_, context_.data, kCompared,
                                                 context_.seed, *context_.arena, *context_.job));
        return few.get();
      }};
  for (const char* op : {"Gather", "ConvTranspose", "LSTM", "GRU", "RNN"}) {
    storing.selection.add_op_types(op);
  }
  *storing.selection.mutable_exclude() = options_.exclude();
  MP_ASSIGN_OR_RETURN(StoredWeights others, StoreWeights(model_, storing, nullptr, context_));
  if (own_meter != nullptr) {
    all_samples_ = own_meter->samples_in_all();
    other_run_ += own_meter->samples_run();
  }
  if (few != nullptr) other_run_ += few->samples_run();
  if (others.loss.has_value()) {
    report_.add_notes(FormatString("{} other weights stored as codes: {} on {}",
                                   others.changes.size(), Describe(*others.loss),
                                   storing.meter->description()));
  }
  for (Change& change : others.changes) *report_.add_changes() = std::move(change);
  std::set<std::string> reported;
  for (const Change& change : report_.changes()) reported.insert(change.tensor());
  for (const v1::Skip& skip : report_.skips()) reported.insert(skip.tensor());
  for (auto* skips : {&others.skips, &others.not_selected}) {
    for (v1::Skip& skip : *skips) {
      // Only what was a weight of the caller's model, and once.
      if (!constants_.contains(skip.tensor()) || !reported.insert(skip.tensor()).second) continue;
      *report_.add_skips() = std::move(skip);
    }
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
  bool encodes_weights() const override { return true; }
  absl::Status Validate(const PassStep& step) const override {
    return ValidateStaticOptions(step.quantize_static());
  }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    // The runtime holds one sample's activations; statistics take 64 KiB a value.
    return {192 << 20, bytes / 2 + (16 << 20), 5 + static_cast<double>(bytes) / 1e8};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override {
    Quantization quantization(model, step.quantize_static(), context, &report);
    MP_RETURN_IF_ERROR(quantization.Run());
    report.set_evaluations(quantization.evaluations());
    return absl::OkStatus();
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
       "quantize_static: {limits: {off: true}}",
       {"QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "MatMul"},
       0.4},
      {"a Conv: its output is quantized too, behind the Relu, which the grid's clipping replaces",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[1, 1, 4, 4] x) => (float[1, 2, 4, 4] y)
          <float[2, 1, 1, 1] w = {0.5, -2}, float[2] b = {0.1, -0.2}>
          { h = Conv(x, w, b)
            y = Relu(h) })",
       "quantize_static: {range: minmax, limits: {min_agreement: 0, min_sqnr_db: 10}}",
       {"QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "DequantizeLinear", "Conv",
        "Relu", "QuantizeLinear", "DequantizeLinear"},
       0.4},
  };
}

}  // namespace

void RegisterPass_quantize_static(PassRegistry& registry) {
  registry.Add(std::make_unique<QuantizeStaticPass>());
}

}  // namespace modelpress
