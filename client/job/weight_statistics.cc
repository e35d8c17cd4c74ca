// Statistics of weights; see weight_statistics.h.
#include "client/job/weight_statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/model/graph.h"
#include "core/model/tensor.h"

namespace modelpress {
namespace {

constexpr uint64_t kPollElements = 1 << 20;

// Calls visit(value) for every element.
template <typename Visit>
absl::Status ForEachElement(const WeightStatistics& weight, std::span<const std::byte> bytes,
                            const Cancellation* cancellation, const Visit& visit) {
  Tensor tensor;
  tensor.type = weight.type;
  tensor.dims = weight.dims;
  tensor.bytes = bytes;
  for (uint64_t begin = 0; begin < weight.elements; begin += kPollElements) {
    if (cancellation != nullptr) MP_RETURN_IF_ERROR(cancellation->Check());
    const uint64_t end = std::min(weight.elements, begin + kPollElements);
    if (weight.type == DataType::kFloat) {
      for (uint64_t i = begin; i < end; ++i) {
        float value;  // weights may stand at any address
        std::memcpy(&value, bytes.data() + i * sizeof(float), sizeof(float));
        visit(static_cast<double>(value));
      }
    } else {
      for (uint64_t i = begin; i < end; ++i) visit(ElementAsDouble(tensor, i));
    }
  }
  return absl::OkStatus();
}

absl::Status Measure(std::span<const std::byte> bytes, const Cancellation* cancellation,
                     WeightStatistics* weight) {
  double min = std::numeric_limits<double>::infinity();
  double max = -min;
  MP_RETURN_IF_ERROR(ForEachElement(*weight, bytes, cancellation, [&](double value) {
    if (!std::isfinite(value)) {
      ++weight->not_finite;
      return;
    }
    if (value == 0) ++weight->zeros;
    min = std::min(min, value);
    max = std::max(max, value);
  }));
  if (min > max) return absl::OkStatus();  // no finite value
  weight->min = min;
  weight->max = max;
  const double scale = max > min ? kHistogramBins / (max - min) : 0;
  return ForEachElement(*weight, bytes, cancellation, [&](double value) {
    if (!std::isfinite(value)) return;
    const auto bin = static_cast<size_t>((value - min) * scale);
    ++weight->histogram[std::min(bin, kHistogramBins - 1)];
  });
}

}  // namespace

absl::StatusOr<std::vector<WeightStatistics>> InspectWeights(Model& model,
                                                             const JobContext& context) {
  const GraphIndex index(model.mutable_proto());
  const auto shape_tensors = ShapeTensors(model.proto());
  std::vector<WeightStatistics> weights;
  std::vector<std::span<const std::byte>> bytes;
  absl::Status status;
  ForEachTensor(model.mutable_proto(), [&](const TensorSite& site) {
    if (!status.ok() || shape_tensors.contains(site.tensor)) return;
    const DataType type = Type(*site.tensor);
    if (BitsPerElement(type) == 0 || type == DataType::kBool) return;
    WeightStatistics weight;
    weight.name = site.value_name.empty() ? site.tensor->name() : site.value_name;
    weight.type = type;
    weight.dims.assign(site.tensor->dims().begin(), site.tensor->dims().end());
    const absl::StatusOr<uint64_t> elements = ElementCount(weight.dims);
    const absl::StatusOr<std::span<const std::byte>> data = model.Bytes(*site.tensor);
    if (!elements.ok() || !data.ok()) {
      status = elements.ok() ? data.status() : elements.status();
      return;
    }
    weight.elements = *elements;
    weight.bytes = data->size();
    if (site.graph != nullptr && !site.value_name.empty()) {
      const std::vector<Use>& uses = index.Uses(*site.graph, site.value_name);
      weight.readers = uses.size();
      if (!uses.empty()) {
        weight.op = uses.front().node->op_type();
        weight.node = uses.front().node->name();
      }
    } else if (site.node != nullptr) {
      weight.op = site.node->op_type();
      weight.node = site.node->name();
    }
    weights.push_back(std::move(weight));
    bytes.push_back(*data);
  });
  MP_RETURN_IF_ERROR(status);
  MP_RETURN_IF_ERROR(context.pool->ParallelFor(weights.size(), [&](size_t i) {
    return Measure(bytes[i], context.cancellation, &weights[i]);
  }));
  return weights;
}

}  // namespace modelpress
