// Coding, measuring and choosing; see stored_weights.h.
#include "core/passes/stored_weights.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/passes/rounded_codes.h"

namespace modelpress {
namespace {

// Codes of smaller weights save less than the nodes that decode them take.
constexpr uint64_t kLeastStored = 512;

class Store {
 public:
  Store(const Model& model, const StoringOptions& options, PassContext& context)
      : model_(model), options_(options), context_(context), selection_(options.selection) {
    if (!selection_.has_min_elements()) selection_.set_min_elements(kLeastStored);
  }

  // The model with the stored weights; nothing if there are none.
  absl::StatusOr<std::optional<Model>> Run(const WeightProgress::Sink& progress,
                                           StoredWeights* result) {
    MP_RETURN_IF_ERROR(Encode(progress, result));
    if (coded_.empty()) return std::nullopt;
    MP_ASSIGN_OR_RETURN(Model stored, With(coded_));
    if (options_.meter != nullptr) {
      MP_ASSIGN_OR_RETURN(ModelLoss loss, MeasureCandidate(*options_.meter, stored, nullptr));
      if (!IsWithin(loss, options_.limits)) {
        MP_RETURN_IF_ERROR(LeaveOut(result));
        if (coded_.empty()) return std::nullopt;
        MP_ASSIGN_OR_RETURN(stored, With(coded_));
        MP_ASSIGN_OR_RETURN(loss, MeasureCandidate(*options_.meter, stored, nullptr));
      }
      result->loss = loss;
    }
    for (const auto& [place, weight] : coded_) {
      Change& change = changes_[place];
      change.set_what(change.what() + ", decoded when the model is loaded");
      result->changes.push_back(std::move(change));
    }
    return stored;
  }

 private:
  // By their places among the selected weights, which are the same in every clone.
  using CodedWeights = std::map<size_t, CodedWeight>;

  // What one weight costs as codes.
  struct Cost {
    size_t place = 0;
    ModelLoss alone;
    std::string failure;
    double noise_for_bytes = 0;
  };

  absl::Status Encode(const WeightProgress::Sink& sink, StoredWeights* result) {
    // Selected in a clone, so that names and pointers outlive the model's changes.
    found_in_ = model_.Clone();
    const GraphIndex index(found_in_.mutable_proto());
    MP_ASSIGN_OR_RETURN(SelectedWeights found, SelectWeights(found_in_, index, selection_));
    result->not_selected = std::move(found.skips);
    uint64_t total = 0;
    for (const CandidateWeight& weight : found.weights) total += weight.elements * sizeof(float);
    WeightProgress progress(sink, total);
    for (size_t i = 0; i < found.weights.size(); ++i) {
      MP_RETURN_IF_ERROR(context_.job->cancellation->Check());
      const CandidateWeight& candidate = found.weights[i];
      if (candidate.weight_uses.empty()) {
        result->skips.push_back(MakeSkip(SkipReason::kExcluded, candidate.name, candidate.reader(),
                                         "not read as a weight"));
        continue;
      }
      CodedWeight weight;
      weight.weight = candidate;
      weight.rule = options_.rule;
      weight.decode_at_load = true;
      Change& change = changes_[i];
      MP_ASSIGN_OR_RETURN(
          std::optional<v1::Skip> skip,
          EncodeByRounding(found_in_, context_, options_.per_channel, progress, &weight, &change));
      if (skip.has_value()) {
        result->skips.push_back(*std::move(skip));
        continue;
      }
      MP_RETURN_IF_ERROR(FillBytes(found_in_, weight, &change));
      coded_.emplace(i, std::move(weight));
    }
    return absl::OkStatus();
  }

  // A copy of the model in which these weights are codes.
  absl::StatusOr<Model> With(const CodedWeights& coded) const {
    Model candidate = model_.Clone();
    const GraphIndex index(candidate.mutable_proto());
    MP_ASSIGN_OR_RETURN(SelectedWeights found, SelectWeights(candidate, index, selection_));
    std::vector<CodedWeight> stored;
    for (const auto& [place, weight] : coded) {
      stored.push_back(weight);
      stored.back().weight = std::move(found.weights[place]);
    }
    GraphAdditions additions(candidate, *context_.arena);
    MP_RETURN_IF_ERROR(ReplaceByCodes(stored, additions));
    MP_RETURN_IF_ERROR(additions.Finish());
    RemoveDead(candidate.mutable_proto());
    return candidate;
  }

  // Each alone, on few samples; the one with most noise for the bytes it saves first.
  absl::StatusOr<std::vector<Cost>> Costs() {
    MP_ASSIGN_OR_RETURN(const LossMeter* meter, options_.alone_meter());
    std::vector<Cost> costs;
    for (const auto& [place, weight] : coded_) {
      Cost& cost = costs.emplace_back();
      cost.place = place;
      MP_ASSIGN_OR_RETURN(const Model candidate, With({{place, weight}}));
      MP_ASSIGN_OR_RETURN(cost.alone, MeasureCandidate(*meter, candidate, &cost.failure));
      const Change& change = changes_.at(place);
      const double saved =
          static_cast<double>(change.bytes_before()) - static_cast<double>(change.bytes_after());
      cost.noise_for_bytes = std::pow(10, -cost.alone.sqnr_db / 10) / std::max(1.0, saved);
    }
    std::ranges::stable_sort(costs, std::greater(), &Cost::noise_for_bytes);
    return costs;
  }

  // The fewest of the costliest.
  absl::Status LeaveOut(StoredWeights* result) {
    MP_ASSIGN_OR_RETURN(const std::vector<Cost> order, Costs());
    const auto rest = [&](size_t count) {
      CodedWeights kept = coded_;
      for (size_t n = 0; n < count; ++n) kept.erase(order[n].place);
      return kept;
    };
    MP_ASSIGN_OR_RETURN(const size_t left_out,
                        FewestLeftOut(order.size(), options_.limits,
                                      [&](size_t count) -> absl::StatusOr<ModelLoss> {
                                        MP_ASSIGN_OR_RETURN(const Model model, With(rest(count)));
                                        return MeasureCandidate(*options_.meter, model, nullptr);
                                      }));
    for (size_t n = 0; n < left_out; ++n) {
      const CandidateWeight& weight = coded_.at(order[n].place).weight;
      result->skips.push_back(
          MakeSkip(SkipReason::kLossTooLarge, weight.name, weight.reader(),
                   order[n].failure.empty()
                       ? FormatString("its codes alone leave {}; the limits are kept without them",
                                      Describe(order[n].alone))
                       : FormatString("the runtime does not run it so: {}", order[n].failure)));
    }
    coded_ = rest(left_out);
    return absl::OkStatus();
  }

  const Model& model_;
  const StoringOptions& options_;
  PassContext& context_;
  WeightSelection selection_;
  Model found_in_;
  CodedWeights coded_;
  std::map<size_t, Change> changes_;
};

}  // namespace

absl::StatusOr<StoredWeights> StoreWeights(Model& model, const StoringOptions& options,
                                           const WeightProgress::Sink& progress,
                                           PassContext& context) {
  StoredWeights result;
  // None would mean the default ones.
  if (options.selection.op_types().empty()) return result;
  std::optional<Model> stored;
  {
    Store store(model, options, context);
    MP_ASSIGN_OR_RETURN(stored, store.Run(progress, &result));
  }
  if (stored.has_value()) model = *std::move(stored);
  return result;
}

}  // namespace modelpress
