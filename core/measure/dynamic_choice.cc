// Which layers quantize_dynamic may run in integers; see dynamic_choice.h.
#include "core/measure/dynamic_choice.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "core/base/status.h"
#include "core/model/graph.h"

namespace modelpress {

std::vector<DynamicUnit> MakeDynamicUnits(const DynamicLayers& found,
                                          const std::vector<bool>& usable) {
  std::vector<size_t> parent(found.weights.size());
  std::iota(parent.begin(), parent.end(), size_t{0});
  const auto root = [&](size_t w) {
    while (parent[w] != w) w = parent[w];
    return w;
  };
  for (const DynamicLayer& layer : found.layers) {
    for (const size_t w : layer.weights) parent[root(w)] = root(layer.weights[0]);
  }
  std::vector<bool> lost(parent.size(), false);
  for (size_t w = 0; w < parent.size(); ++w) {
    if (!usable[w]) lost[root(w)] = true;
  }
  std::vector<DynamicUnit> units;
  constexpr size_t kNone = std::numeric_limits<size_t>::max();
  std::vector<size_t> place(parent.size(), kNone);
  for (const DynamicLayer& layer : found.layers) {
    const size_t w = root(layer.weights[0]);
    if (lost[w]) continue;
    if (place[w] == kNone) {
      place[w] = units.size();
      units.emplace_back();
    }
    units[place[w]].layers.push_back(&layer);
  }
  return units;
}

std::vector<const DynamicLayer*> ChosenLayers(const std::vector<DynamicUnit>& units) {
  std::vector<const DynamicLayer*> layers;
  for (const DynamicUnit& unit : units) {
    if (unit.chosen) layers.insert(layers.end(), unit.layers.begin(), unit.layers.end());
  }
  std::ranges::sort(layers, {},
                    [](const DynamicLayer* layer) { return std::pair(layer->graph, layer->node); });
  return layers;
}

absl::StatusOr<std::optional<ModelLoss>> ChooseDynamicUnits(
    const Model& model, const std::vector<DynamicWeight>& weights, const v1::LossLimits& limits,
    const LossMeter& meter, const MakeLossMeter& alone_meter, WeightArena& arena,
    const std::function<void(double fraction, std::string_view layer)>& progress,
    std::vector<DynamicUnit>* units) {
  if (std::ranges::none_of(*units, &DynamicUnit::chosen)) return std::nullopt;
  const auto measure = [&](const LossMeter& by, std::string* failure) -> absl::StatusOr<ModelLoss> {
    Model candidate = model.Clone();
    MP_RETURN_IF_ERROR(QuantizeDynamicLayers(candidate, weights, ChosenLayers(*units), arena));
    RemoveDead(candidate.mutable_proto());
    return MeasureCandidate(by, candidate, failure);
  };
  MP_ASSIGN_OR_RETURN(ModelLoss loss, measure(meter, nullptr));
  if (IsWithin(loss, limits)) return loss;
  MP_ASSIGN_OR_RETURN(const LossMeter* few_samples, alone_meter());

  std::vector<DynamicUnit*> order;
  for (DynamicUnit& unit : *units) {
    if (unit.chosen) order.push_back(&unit);
  }
  const auto choose = [&](auto&& chosen) {
    for (size_t i = 0; i < order.size(); ++i) order[i]->chosen = chosen(i);
  };
  for (size_t i = 0; i < order.size(); ++i) {
    choose([&](size_t j) { return j == i; });
    MP_ASSIGN_OR_RETURN(order[i]->alone, measure(*few_samples, &order[i]->failure));
    if (progress) {
      progress(static_cast<double>(i + 1) / static_cast<double>(order.size()),
               order[i]->layers[0]->name);
    }
  }
  std::ranges::stable_sort(order, {}, [](const DynamicUnit* unit) { return unit->alone->sqnr_db; });
  const auto without = [&](size_t count) {
    choose([&](size_t i) { return i >= count; });
    return measure(meter, nullptr);
  };
  MP_ASSIGN_OR_RETURN(const size_t left_out, FewestLeftOut(order.size(), limits, without));
  if (left_out == order.size()) {
    choose([](size_t) { return false; });
    return std::nullopt;
  }
  MP_ASSIGN_OR_RETURN(loss, without(left_out));
  return loss;
}

}  // namespace modelpress
