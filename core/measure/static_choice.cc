// Trying, comparing, leaving out; see static_choice.h.
#include "core/measure/static_choice.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/measure/bias_correction.h"
#include "core/measure/layer_error.h"
#include "core/measure/loss_limits.h"
#include "core/measure/static_exceptions.h"
#include "core/measure/static_options.h"

namespace modelpress {
namespace {

// A weight in codes costs its dequantization at every run, about so many multiply-accumulates for each
// element. It may be as much as the layer's own work, or this share of the model's.
constexpr double kDequantization = 64, kSmallShare = 0.01;
// Where the progress of each part ends.
constexpr double kRangesTried = 0.3, kExceptionsTried = 0.9;

class Chooser {
 public:
  explicit Chooser(const StaticChoiceInput& input) : in_(input) {}

  absl::StatusOr<StaticChoice> Run() {
    MP_RETURN_IF_ERROR(TryRanges());
    MP_RETURN_IF_ERROR(Settle());
    return std::move(choice_);
  }

 private:
  // What becomes of one rule.
  struct Settled {
    size_t rule = 0;
    std::vector<BiasCorrection> corrections;
    StaticFindings findings;
    ModelLoss loss;
    bool left_out = false;
    double integer_macs = 0;
    std::vector<std::string> notes;
  };

  void Progress(double fraction, std::string_view detail) const {
    if (in_.progress) in_.progress(fraction, detail);
  }

  absl::StatusOr<ModelLoss> MeasureAllInteger() {
    MP_ASSIGN_OR_RETURN(const Model candidate, in_.quantizer.Build(in_.quantizer.AllInteger()));
    return MeasureCandidate(in_.meter, candidate, &choice_.failure);
  }

  // Each layer's own relative error with the present ranges; -1 where it is not known.
  absl::StatusOr<std::vector<double>> OwnErrors() {
    MP_ASSIGN_OR_RETURN(Model quantized, in_.quantizer.Build(in_.quantizer.AllInteger()));
    MP_ASSIGN_OR_RETURN(const std::vector<LayerError> errors,
                        MeasureLayerErrors(quantized, in_.model, in_.compared, in_.job));
    absl::flat_hash_map<std::string, double> of_node;
    for (const LayerError& error : errors) of_node.emplace(error.node, error.relative());
    std::vector<double> own;
    for (const StaticLayer& entry : in_.quantizer.layers()) {
      const auto found = of_node.find(entry.layer.node);
      own.push_back(found == of_node.end() ? -1 : found->second);
    }
    return own;
  }

  // One rule for all, or for each range the rule under which its layers err least.
  absl::Status TryRanges() {
    std::string tried;
    const size_t candidates = rules_.size() > 1 ? rules_.size() + 1 : 1;
    for (size_t i = 0; i < candidates; ++i) {
      MP_RETURN_IF_ERROR(UseRule(i));
      if (candidates > 1 && i < rules_.size()) {
        MP_ASSIGN_OR_RETURN(errors_.emplace_back(), OwnErrors());
      }
      MP_ASSIGN_OR_RETURN(const ModelLoss loss, MeasureAllInteger());
      losses_.push_back(loss);
      tried += FormatString("{}{} {}", i > 0 ? "; " : "", RuleName(i), Describe(loss));
      if (i == 0 || IsBetter(loss, losses_[best_])) best_ = i;
      Progress(kRangesTried * static_cast<double>(i + 1) / static_cast<double>(candidates),
               RuleName(i));
    }
    choice_.notes.push_back(FormatString("ranges, of all layers in integers on {}: {}",
                                         in_.meter.description(), tried));
    return absl::OkStatus();
  }

  std::string RuleName(size_t i) const {
    return i < rules_.size() ? NameOf(rules_[i]) : "the best for each range";
  }

  absl::Status UseRule(size_t i) {
    in_.quantizer.SetCorrections({});
    return i < rules_.size() ? in_.quantizer.UseRanges(rules_[i])
                             : in_.quantizer.UseBestRanges(rules_, errors_);
  }

  // Biases and exceptions. Where exceptions are needed, the rule that is best for all layers owes that
  // to the worst ones, which will be left out: the least squared error, which clips least of what
  // matters, is tried beside it, and the one that leaves more work in integers is kept.
  absl::Status Settle() {
    MP_ASSIGN_OR_RETURN(Settled settled, SettleWith(best_));
    const v1::LossLimits& limits = in_.options.limits();
    const auto mse = std::ranges::find(rules_, RangeMethod::kMse, &RangeRule::method);
    const auto second = static_cast<size_t>(mse - rules_.begin());
    if (settled.left_out && mse != rules_.end() && second != best_) {
      MP_ASSIGN_OR_RETURN(Settled other, SettleWith(second));
      if (IsWithin(other.loss, limits) &&
          (other.integer_macs > settled.integer_macs || !IsWithin(settled.loss, limits))) {
        settled = std::move(other);
      }
    }
    MP_RETURN_IF_ERROR(UseRule(settled.rule));
    in_.quantizer.SetCorrections(std::move(settled.corrections));
    choice_.findings = std::move(settled.findings);
    for (std::string& note : settled.notes) choice_.notes.push_back(std::move(note));
    if (!IsWithin(settled.loss, limits)) {
      choice_.notes.push_back("no choice of layers keeps the limits on these samples");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Settled> SettleWith(size_t rule) {
    Settled settled;
    settled.rule = rule;
    settled.loss = losses_[rule];
    settled.findings.forms = in_.quantizer.AllInteger();
    settled.notes.push_back(FormatString("ranges by {}", RuleName(rule)));
    MP_RETURN_IF_ERROR(UseRule(rule));
    MP_RETURN_IF_ERROR(CorrectBiases(&settled));
    MP_ASSIGN_OR_RETURN(settled.findings.own, OwnErrors());
    if (!IsWithin(settled.loss, in_.options.limits())) MP_RETURN_IF_ERROR(LeaveOut(&settled));
    for (size_t i = 0; i < settled.findings.forms.size(); ++i) {
      if (settled.findings.forms[i] == LayerForm::kInteger) {
        settled.integer_macs += in_.quantizer.layers()[i].macs;
      }
    }
    return settled;
  }

  // Kept if the model as a whole loses less with it.
  absl::Status CorrectBiases(Settled* settled) {
    if (in_.options.has_correct_bias() && !in_.options.correct_bias()) return absl::OkStatus();
    MP_ASSIGN_OR_RETURN(Model quantized, in_.quantizer.Build(in_.quantizer.AllInteger()));
    MP_ASSIGN_OR_RETURN(std::vector<BiasCorrection> corrections,
                        MeasureBiasCorrections(quantized, in_.model, in_.fit, in_.job));
    uint64_t channels = 0, kept = 0;
    for (const BiasCorrection& row : corrections) {
      channels += row.channels;
      kept += row.kept;
    }
    if (kept == 0) return absl::OkStatus();
    in_.quantizer.SetCorrections(corrections);
    MP_ASSIGN_OR_RETURN(const ModelLoss loss, MeasureAllInteger());
    const bool better = IsBetter(loss, settled->loss);
    settled->notes.push_back(FormatString(
        "bias correction {}: {} of {} channels err less on held-back samples; {} with it, {} "
        "without",
        better ? "applied" : "left out", kept, channels, Describe(loss), Describe(settled->loss)));
    if (better) {
      settled->loss = loss;
      settled->corrections = std::move(corrections);
    } else {
      in_.quantizer.SetCorrections({});
    }
    return absl::OkStatus();
  }

  absl::Status LeaveOut(Settled* settled) {
    MP_ASSIGN_OR_RETURN(const auto few, LossMeter::On(in_.model, in_.compared, in_.arena, in_.job));
    const bool code = !in_.options.has_other_weights() || in_.options.other_weights();
    std::vector<bool> code_weights;
    double macs = 0;
    for (const StaticLayer& entry : in_.quantizer.layers()) macs += entry.macs;
    for (const StaticLayer& entry : in_.quantizer.layers()) {
      const double cost = entry.weight.has_value()
                              ? kDequantization * static_cast<double>(entry.weight->codes.length)
                              : 0;
      code_weights.push_back(code && cost > 0 &&
                             (cost <= entry.macs || cost <= kSmallShare * macs));
    }
    MP_ASSIGN_OR_RETURN(StaticExceptions chosen,
                        ChooseExceptions(
                            in_.quantizer, settled->findings.own, code_weights,
                            in_.options.limits(), *few, in_.meter,
                            [this](double fraction) {
                              Progress(kRangesTried + (kExceptionsTried - kRangesTried) * fraction,
                                       "exceptions");
                            },
                            &choice_.failure));
    choice_.samples_run += few->samples_run();
    const auto more = [&](LayerForm form) {
      return std::ranges::count(chosen.forms, form) -
             std::ranges::count(settled->findings.forms, form);
    };
    settled->notes.push_back(FormatString(
        "all layers in integers leave {}; {} of {} stay in float, {} of them with their weight in "
        "codes: {} on {}, found by {} measurements",
        Describe(settled->loss), more(LayerForm::kFloat) + more(LayerForm::kCodedWeight),
        chosen.forms.size(), more(LayerForm::kCodedWeight), Describe(chosen.loss),
        in_.meter.description(), chosen.measurements));
    settled->left_out = true;
    settled->loss = chosen.loss;
    settled->findings.forms = std::move(chosen.forms);
    settled->findings.noise = std::move(chosen.noise);
    return absl::OkStatus();
  }

  const StaticChoiceInput& in_;
  // Ranges that are tried, what all layers in integers lose with each, and the best; the last of them,
  // beyond rules_, takes for each range the rule of the least of errors_.
  const std::vector<RangeRule> rules_ = RangeRulesOf(in_.options);
  std::vector<std::vector<double>> errors_;
  std::vector<ModelLoss> losses_;
  size_t best_ = 0;
  StaticChoice choice_;
};

}  // namespace

absl::StatusOr<StaticChoice> ChooseStatic(const StaticChoiceInput& input) {
  return Chooser(input).Run();
}

}  // namespace modelpress
