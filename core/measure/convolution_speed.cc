// Which convolutions are faster in integers; see convolution_speed.h.
#include "core/measure/convolution_speed.h"

#include <algorithm>
#include <utility>

#include "core/base/status.h"
#include "core/measure/latency.h"
#include "core/model/graph.h"
#include "core/model/value_key.h"
#include "core/statistics/statistics.h"

namespace modelpress {
namespace {

// In a whole model the activation behind a float Conv is part of its kernel.
constexpr double kFastEnough = 0.8, kWorthwhile = 0.95;
constexpr int kRuns = 30;
constexpr double kSeconds = 0.3;

// The node with its constants as a model of one input.
absl::StatusOr<Model> Extract(const Model& model, const GraphIndex& index,
                              const onnx::GraphProto& graph, const onnx::NodeProto& node,
                              const std::vector<int64_t>& dims) {
  Model extract;
  onnx::ModelProto& proto = extract.mutable_proto();
  proto.set_ir_version(model.proto().ir_version());
  *proto.mutable_opset_import() = model.proto().opset_import();
  proto.mutable_graph()->set_name("convolution");
  const auto declare = [](onnx::ValueInfoProto* value, const std::string& name) {
    value->set_name(name);
    auto& type = *value->mutable_type()->mutable_tensor_type();
    type.set_elem_type(onnx::TensorProto::FLOAT);
    return type.mutable_shape();
  };
  auto* shape = declare(proto.mutable_graph()->add_input(), node.input(0));
  for (const int64_t extent : dims) shape->add_dim()->set_dim_value(extent);
  auto* output = declare(proto.mutable_graph()->add_output(), node.output(0));
  for (size_t i = 0; i < dims.size(); ++i) output->add_dim();
  for (int i = 1; i < node.input_size(); ++i) {
    if (node.input(i).empty()) continue;
    const onnx::TensorProto& tensor = *index.Constant(graph, node.input(i));
    onnx::TensorProto* copy = proto.mutable_graph()->add_initializer();
    copy->set_name(node.input(i));
    if (const WeightRef* weight = model.Weight(tensor)) {
      MP_RETURN_IF_ERROR(extract.SetWeight(copy, Type(tensor), Dims(tensor), *weight));
    } else {
      MP_ASSIGN_OR_RETURN(const auto bytes, model.Bytes(tensor));
      MP_RETURN_IF_ERROR(extract.SetInline(copy, Type(tensor), Dims(tensor), bytes));
    }
  }
  *proto.mutable_graph()->add_node() = node;
  return extract;
}

absl::StatusOr<double> TimeRatio(const Model& before, const Model& after, const TensorMap& inputs,
                                 const JobContext& context) {
  const int threads = static_cast<int>(context.pool->threads());
  const SessionOptions options = {.threads = threads, .prepack = true};
  MP_ASSIGN_OR_RETURN(const auto plain, Session::Create(before, options));
  MP_ASSIGN_OR_RETURN(const auto changed, Session::Create(after, options));
  MP_ASSIGN_OR_RETURN(const v1::Latency latency,
                      CompareLatency(*plain, *changed, inputs, inputs, threads, kRuns, kSeconds,
                                     *context.cancellation));
  return latency.artifact_median_seconds() / latency.original_median_seconds();
}

absl::StatusOr<double> TimeRatio(const Model& plain, const DynamicLayer& layer,
                                 const std::vector<DynamicWeight>& weights,
                                 const std::vector<int64_t>& dims, WeightArena& arena,
                                 const JobContext& context) {
  Model integer = plain.Clone();
  DynamicLayer alone = layer;
  alone.graph = alone.node = 0;
  MP_RETURN_IF_ERROR(QuantizeDynamicLayers(integer, weights, {&alone}, arena));
  RemoveDead(integer.mutable_proto());
  std::span<std::byte> bytes;
  MP_ASSIGN_OR_RETURN(Tensor input, Tensor::Make(DataType::kFloat, dims, &bytes));
  // Any numbers but denormal ones.
  auto* values = reinterpret_cast<float*>(bytes.data());
  for (uint64_t i = 0; i < input.element_count(); ++i) {
    values[i] = static_cast<float>(i % 255) / 128 - 1;
  }
  const TensorMap inputs = {{plain.proto().graph().input(0).name(), input}};
  return TimeRatio(plain, integer, inputs, context);
}

}  // namespace

absl::Status LeaveOutSlowConvolutions(Model& model, const std::vector<DynamicWeight>& weights,
                                      const Samples& samples, WeightArena& arena,
                                      const JobContext& context, std::vector<DynamicUnit>* units) {
  const GraphIndex index(model.mutable_proto());
  std::vector<onnx::GraphProto*> graphs;
  const GraphPaths paths(model.mutable_proto());
  ForEachGraph(model.mutable_proto(),
               [&](onnx::GraphProto& graph, int) { graphs.push_back(&graph); });
  const auto node_of = [&](const DynamicLayer& layer) -> const onnx::NodeProto& {
    return graphs[layer.graph]->node(layer.node);
  };
  const auto key_of = [&](const DynamicLayer& layer) {
    const std::string& value = node_of(layer).input(0);
    return paths.KeyOf(index, *graphs[layer.graph], value).value_or(ValueKey{"", value});
  };
  std::vector<StatisticRequest> requests;
  for (const DynamicUnit& unit : *units) {
    for (const DynamicLayer* layer : unit.layers) {
      if (layer->op_type == "Conv") requests.push_back({.key = key_of(*layer)});
    }
  }
  if (requests.empty()) return absl::OkStatus();
  MP_ASSIGN_OR_RETURN(const Statistics statistics,
                      GatherStatistics(model, samples, requests, context, nullptr));
  for (DynamicUnit& unit : *units) {
    for (const DynamicLayer* layer : unit.layers) {
      if (layer->op_type != "Conv") continue;
      MP_RETURN_IF_ERROR(context.cancellation->Check());
      const ValueStatistics* seen = statistics.Find(key_of(*layer));
      if (seen == nullptr) {
        unit.chosen = false;
        continue;
      }
      MP_ASSIGN_OR_RETURN(const Model alone, Extract(model, index, *graphs[layer->graph],
                                                     node_of(*layer), seen->last_dims));
      MP_ASSIGN_OR_RETURN(const double ratio,
                          TimeRatio(alone, *layer, weights, seen->last_dims, arena, context));
      unit.time_ratio = std::max(unit.time_ratio.value_or(0), ratio);
    }
    if (unit.time_ratio.value_or(0) > kFastEnough) unit.chosen = false;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<double>> LeaveOutUselessConvolutions(
    const Model& model, const std::vector<DynamicWeight>& weights, const Samples& samples,
    WeightArena& arena, const JobContext& context, std::vector<DynamicUnit>* units) {
  std::vector<DynamicUnit> without = *units;
  bool any = false;
  for (DynamicUnit& unit : without) {
    if (!unit.chosen || !unit.time_ratio.has_value()) continue;
    any = true;
    unit.chosen = false;
  }
  if (!any) return std::nullopt;
  const auto build = [&](const std::vector<DynamicUnit>& chosen) -> absl::StatusOr<Model> {
    Model candidate = model.Clone();
    MP_RETURN_IF_ERROR(QuantizeDynamicLayers(candidate, weights, ChosenLayers(chosen), arena));
    RemoveDead(candidate.mutable_proto());
    return candidate;
  };
  MP_ASSIGN_OR_RETURN(const Model before, build(without));
  MP_ASSIGN_OR_RETURN(const Model after, build(*units));
  MP_ASSIGN_OR_RETURN(const Batch batch, samples.Read(0));
  MP_ASSIGN_OR_RETURN(const double ratio, TimeRatio(before, after, batch.inputs, context));
  if (ratio > kWorthwhile) *units = std::move(without);
  return ratio;
}

}  // namespace modelpress
