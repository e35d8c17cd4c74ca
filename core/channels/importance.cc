// Norms and energies; see importance.h.
#include "core/channels/importance.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "core/base/status.h"
#include "core/statistics/statistics.h"

namespace modelpress {
namespace {

// Sum of squares for each index on an axis of a float32 constant; empty for others.
std::vector<double> SquaresAlong(const Model& model, const onnx::TensorProto* tensor, int axis) {
  if (tensor == nullptr || Type(*tensor) != DataType::kFloat || axis >= tensor->dims_size())
    return {};
  const auto bytes = model.Bytes(*tensor);
  if (!bytes.ok()) return {};
  const auto channels = static_cast<uint64_t>(tensor->dims(axis));
  uint64_t inner = 1;
  for (int i = axis + 1; i < tensor->dims_size(); ++i)
    inner *= static_cast<uint64_t>(tensor->dims(i));
  std::vector<double> squares(channels);
  const uint64_t count = bytes->size() / sizeof(float);
  for (uint64_t i = 0; i < count; ++i) {
    float value;
    std::memcpy(&value, bytes->data() + i * sizeof(value), sizeof(value));
    squares[i / inner % channels] += static_cast<double>(value) * value;
  }
  return squares;
}

// Sums over the positions of each channel, divided by their mean.
std::vector<double> Normalized(const DependencyGroup& group, const DependencyGroup::Member& member,
                               const std::vector<double>& by_position, bool root) {
  std::vector<double> score(group.channels);
  double sum = 0;
  for (size_t c = 0; c < score.size(); ++c) {
    for (size_t i = 0; i < member.width; ++i) {
      score[c] += by_position[member.positions[c * member.width + i]];
    }
    if (root) score[c] = std::sqrt(score[c]);
    sum += score[c];
  }
  const double mean = sum / static_cast<double>(score.size());
  for (double& value : score) value = mean > 0 ? value / mean : 0;
  return score;
}

void Add(const std::vector<double>& more, std::vector<double>* to) {
  if (to->empty()) to->resize(more.size());
  for (size_t i = 0; i < more.size(); ++i) (*to)[i] += more[i];
}

}  // namespace

ChannelImportance ImportanceOf(v1::PruneChannels::Importance importance) {
  switch (importance) {
    case v1::PruneChannels::IMPORTANCE_L2:
      return ChannelImportance::kL2;
    case v1::PruneChannels::IMPORTANCE_ENERGY:
      return ChannelImportance::kEnergy;
    case v1::PruneChannels::IMPORTANCE_RECONSTRUCTION:
      return ChannelImportance::kReconstruction;
    default:
      return ChannelImportance::kMeasured;
  }
}

absl::StatusOr<std::vector<std::vector<double>>> ScoreChannels(
    Model& model, const GraphIndex& index, const Dependencies& dependencies,
    ChannelImportance importance, const Samples* samples, bool centered,
    const JobContext& context) {
  const onnx::GraphProto& graph = model.proto().graph();
  const bool energy = importance == ChannelImportance::kEnergy && samples != nullptr;
  std::map<int, StatisticRequest> requests;
  std::optional<Statistics> statistics;
  if (energy) {
    std::vector<StatisticRequest> list;
    for (const DependencyGroup& group : dependencies.groups) {
      if (!group.reason.empty()) continue;
      for (const int number : group.consumers) {
        const ChannelLayer& layer = dependencies.layers[number];
        requests[number] = {.key = {"", layer.value}, .channel_axis = layer.value_axis};
        list.push_back(requests[number]);
      }
    }
    MP_ASSIGN_OR_RETURN(statistics, GatherStatistics(model, *samples, list, context, nullptr));
  }
  std::vector<std::vector<double>> scores(dependencies.groups.size());
  for (size_t g = 0; g < scores.size(); ++g) {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    const DependencyGroup& group = dependencies.groups[g];
    if (!group.reason.empty()) continue;
    for (const int number : energy ? group.consumers : std::vector<int>()) {
      const ChannelLayer& layer = dependencies.layers[number];
      const DependencyGroup::Member* member = group.Find(layer.weight, layer.input_axis);
      const ValueStatistics* seen = statistics->FindRequest(requests[number]);
      std::vector<double> squares =
          SquaresAlong(model, index.Constant(graph, layer.weight), layer.input_axis);
      if (member == nullptr || seen == nullptr || !seen->channels.has_value() ||
          seen->channels->mean_square.size() != squares.size()) {
        continue;
      }
      for (size_t i = 0; i < squares.size(); ++i) {
        const double mean = centered ? seen->channels->mean[i] : 0;
        squares[i] *= std::max(0.0, seen->channels->mean_square[i] - mean * mean);
      }
      Add(Normalized(group, *member, squares, /*root=*/false), &scores[g]);
    }
    if (scores[g].empty()) {
      for (const int number : group.producers) {
        const ChannelLayer& layer = dependencies.layers[number];
        const DependencyGroup::Member* member = group.Find(layer.weight, layer.output_axis);
        const std::vector<double> squares =
            SquaresAlong(model, index.Constant(graph, layer.weight), layer.output_axis);
        if (member == nullptr || squares.empty()) continue;
        Add(Normalized(group, *member, squares, /*root=*/true), &scores[g]);
      }
    }
    if (scores[g].empty()) scores[g].assign(group.channels, 1);
    double sum = 0;
    for (const double score : scores[g]) sum += score;
    for (double& score : scores[g]) {
      score = sum > 0 ? score * static_cast<double>(group.channels) / sum : 0;
    }
  }
  return scores;
}

}  // namespace modelpress
