// Ranking, bisecting, giving back; see static_exceptions.h.
#include "core/measure/static_exceptions.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>

#include "core/base/status.h"
#include "core/measure/noise_shares.h"

namespace modelpress {
namespace {

// Measurements for ranking, for giving back, and for coding weights.
constexpr int kRankings = 24, kReturns = 6;
// Noise of a candidate that does not run.
constexpr double kWorst = 1e6;
// A layer without work is ranked as if it did this share.
constexpr double kLeastShare = 0.01;

class Chooser {
 public:
  Chooser(const StaticQuantizer& quantizer, const std::vector<bool>& code_weights,
          const v1::LossLimits& limits, const LossMeter& few, const LossMeter& meter,
          const std::function<void(double)>& progress, std::string* failure)
      : quantizer_(quantizer),
        code_weights_(code_weights),
        limits_(limits),
        few_(few),
        meter_(meter),
        progress_(progress),
        failure_(failure) {}

  absl::StatusOr<StaticExceptions> Run(const std::vector<double>& own) {
    const std::vector<LayerForm> all = quantizer_.AllInteger();
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i] == LayerForm::kInteger) order_.push_back(i);
    }
    MP_RETURN_IF_ERROR(Rank(own));
    MP_ASSIGN_OR_RETURN(const size_t enough,
                        FewestLeftOut(order_.size(), limits_, [&](size_t count) {
                          return Measure(meter_, Without(count));
                        }));
    result_.forms = Without(enough);
    MP_ASSIGN_OR_RETURN(result_.loss, Measure(meter_, result_.forms));
    if (IsWithin(result_.loss, limits_)) {
      MP_RETURN_IF_ERROR(GiveBack(enough));
      MP_RETURN_IF_ERROR(CodeWeights());
    }
    return std::move(result_);
  }

 private:
  absl::StatusOr<ModelLoss> Measure(const LossMeter& meter, const std::vector<LayerForm>& forms) {
    MP_ASSIGN_OR_RETURN(const Model candidate, quantizer_.Build(forms));
    ++result_.measurements;
    if (progress_) progress_(1 - std::pow(0.93, result_.measurements));
    return MeasureCandidate(meter, candidate, failure_);
  }

  absl::Status Rank(const std::vector<double>& own) {
    const auto& layers = quantizer_.layers();
    std::vector<double> own_in_order;
    double macs = 0;
    for (const StaticLayer& layer : layers) macs += layer.macs;
    for (const size_t i : order_) own_in_order.push_back(std::clamp(own[i], 0.0, kWorst));
    MP_ASSIGN_OR_RETURN(
        const std::vector<double> shares,
        NoiseShares(own_in_order, kRankings,
                    [&](const std::vector<size_t>& parts) -> absl::StatusOr<double> {
                      std::vector<LayerForm> forms(layers.size(), LayerForm::kFloat);
                      for (const size_t part : parts) forms[order_[part]] = LayerForm::kInteger;
                      MP_ASSIGN_OR_RETURN(const ModelLoss loss, Measure(few_, forms));
                      return std::min(kWorst, std::pow(10, -loss.sqnr_db / 10));
                    }));
    result_.noise.assign(layers.size(), 0);
    std::vector<double> cost(layers.size());
    for (size_t n = 0; n < order_.size(); ++n) {
      const size_t i = order_[n];
      result_.noise[i] = shares[n];
      cost[i] = shares[n] / ((macs > 0 ? layers[i].macs / macs : 0) + kLeastShare);
    }
    std::ranges::stable_sort(order_, std::greater(), [&](size_t i) { return cost[i]; });
    return absl::OkStatus();
  }

  std::vector<LayerForm> Without(size_t count) const {
    std::vector<LayerForm> forms = quantizer_.AllInteger();
    for (size_t n = 0; n < count; ++n) forms[order_[n]] = LayerForm::kFloat;
    return forms;
  }

  // Keeps `forms` if the limits hold.
  absl::StatusOr<bool> Try(std::vector<LayerForm> forms) {
    MP_ASSIGN_OR_RETURN(const ModelLoss loss, Measure(meter_, forms));
    if (!IsWithin(loss, limits_)) return false;
    result_.forms = std::move(forms);
    result_.loss = loss;
    return true;
  }

  // Bisection leaves out all that rank above the last; those with the most work of them may not be
  // needed.
  absl::Status GiveBack(size_t enough) {
    const auto& layers = quantizer_.layers();
    std::vector<size_t> candidates(order_.begin(),
                                   order_.begin() + static_cast<std::ptrdiff_t>(enough));
    std::ranges::stable_sort(candidates, std::greater(), [&](size_t i) { return layers[i].macs; });
    candidates.resize(std::min<size_t>(candidates.size(), kReturns));
    for (const size_t i : candidates) {
      std::vector<LayerForm> forms = result_.forms;
      forms[i] = LayerForm::kInteger;
      MP_RETURN_IF_ERROR(Try(std::move(forms)).status());
    }
    return absl::OkStatus();
  }

  // All weights at once if the limits hold with them, else one by one; a weight that several layers
  // read for all of them, as it would be stored twice otherwise.
  absl::Status CodeWeights() {
    const auto& layers = quantizer_.layers();
    std::map<std::string_view, std::vector<size_t>> readers;
    std::vector<LayerForm> all = result_.forms;
    for (const size_t i : order_) {
      if (result_.forms[i] != LayerForm::kFloat || !code_weights_[i]) continue;
      readers[layers[i].layer.weight_name].push_back(i);
      all[i] = LayerForm::kCodedWeight;
    }
    if (readers.empty()) return absl::OkStatus();
    MP_ASSIGN_OR_RETURN(const bool done, Try(std::move(all)));
    if (done) return absl::OkStatus();
    std::vector<const std::vector<size_t>*> candidates;
    for (const auto& [weight, of_weight] : readers) candidates.push_back(&of_weight);
    std::ranges::stable_sort(candidates, std::greater(), [&](const std::vector<size_t>* group) {
      return layers[group->front()].weight->codes.length;
    });
    candidates.resize(std::min<size_t>(candidates.size(), kReturns));
    for (const std::vector<size_t>* group : candidates) {
      std::vector<LayerForm> forms = result_.forms;
      for (const size_t i : *group) forms[i] = LayerForm::kCodedWeight;
      MP_RETURN_IF_ERROR(Try(std::move(forms)).status());
    }
    return absl::OkStatus();
  }

  const StaticQuantizer& quantizer_;
  const std::vector<bool>& code_weights_;
  const v1::LossLimits& limits_;
  const LossMeter& few_;
  const LossMeter& meter_;
  const std::function<void(double)>& progress_;
  std::string* failure_;
  // Layers that can be integers, costliest first once they are ranked.
  std::vector<size_t> order_;
  StaticExceptions result_;
};

}  // namespace

absl::StatusOr<StaticExceptions> ChooseExceptions(
    const StaticQuantizer& quantizer, const std::vector<double>& own,
    const std::vector<bool>& code_weights, const v1::LossLimits& limits, const LossMeter& few,
    const LossMeter& meter, const std::function<void(double fraction)>& progress,
    std::string* failure) {
  return Chooser(quantizer, code_weights, limits, few, meter, progress, failure).Run(own);
}

}  // namespace modelpress
