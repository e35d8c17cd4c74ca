// Mean errors out of biases; see bias_correction.h.
#include "core/measure/bias_correction.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/container/flat_hash_map.h"
#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/model/value_key.h"
#include "core/statistics/statistics.h"

namespace modelpress {
namespace {

// Every fifth feed, or all the others.
class Part final : public Samples {
 public:
  Part(const Samples& all, bool held_back) : all_(all) {
    for (uint64_t i = 0; i < all.batches(); ++i) {
      if ((i % 5 == 4) == held_back) feeds_.push_back(i);
    }
  }
  uint64_t size() const override { return feeds_.size(); }
  uint64_t batches() const override { return feeds_.size(); }
  absl::StatusOr<Batch> Read(uint64_t index) const override { return all_.Read(feeds_[index]); }
  bool has_labels() const override { return all_.has_labels(); }
  std::string description() const override { return all_.description(); }
  bool synthetic() const override { return all_.synthetic(); }

 private:
  const Samples& all_;
  std::vector<uint64_t> feeds_;
};

using NodesByName =
    absl::flat_hash_map<std::string, std::pair<onnx::GraphProto*, onnx::NodeProto*>>;

bool HasBias(const onnx::NodeProto& node) {
  return IsDefaultDomain(node.domain()) && (node.op_type() == "Conv" || node.op_type() == "Gemm");
}

NodesByName NodesOf(onnx::ModelProto& model) {
  NodesByName nodes;
  ForEachGraph(model, [&](onnx::GraphProto& graph, int) {
    for (onnx::NodeProto& node : *graph.mutable_node()) {
      if (HasBias(node)) nodes.emplace(node.name(), std::pair(&graph, &node));
    }
  });
  return nodes;
}

// Puts, beside layers of the float model, their quantized twins and the differences of their
// outputs.
class Comparison {
 public:
  Comparison(Model& quantized, const Model& reference)
      : quantized_(quantized),
        index_(quantized.mutable_proto()),
        model_(reference.Clone()),
        names_(model_.proto()) {}

  struct Layer {
    std::string node;
    StatisticRequest difference;
  };

  absl::Status Build() {
    NodesByName coded = NodesOf(quantized_.mutable_proto());
    std::vector<std::pair<onnx::GraphProto*, std::vector<onnx::NodeProto>>> added;
    absl::Status status;
    ForEachNamedGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, const std::string& path) {
      std::vector<onnx::NodeProto> nodes;
      for (const onnx::NodeProto& node : graph.node()) {
        const auto twin = HasBias(node) ? coded.find(node.name()) : coded.end();
        if (twin == coded.end() || !status.ok()) continue;
        status = AddTwin(graph, path, node, *twin->second.first, *twin->second.second, &nodes);
      }
      if (!nodes.empty()) added.emplace_back(&graph, std::move(nodes));
    });
    MP_RETURN_IF_ERROR(status);
    // 16-bit grids may bring a domain of their own.
    for (const auto& import : quantized_.proto().opset_import()) {
      const auto same = [&](const auto& other) { return other.domain() == import.domain(); };
      if (std::ranges::any_of(model_.proto().opset_import(), same)) continue;
      *model_.mutable_proto().add_opset_import() = import;
    }
    for (auto& [graph, nodes] : added) {
      for (onnx::NodeProto& node : nodes) *graph->add_node() = std::move(node);
    }
    return SortTopologically(model_.mutable_proto());
  }

  const Model& model() const { return model_; }
  const std::vector<Layer>& layers() const { return layers_; }

 private:
  // A constant of the quantized model, copied; its new name.
  absl::StatusOr<std::string> Copy(const onnx::GraphProto& from, const std::string& name,
                                   onnx::GraphProto& to) {
    const onnx::TensorProto* tensor = index_.Constant(from, name);
    if (tensor == nullptr) {
      return Error(ERROR_REASON_INTERNAL_BUG, "a quantized layer's constant is missing").Tensor(name);
    }
    onnx::TensorProto* copy = to.add_initializer();
    std::string made = names_.Make(name + "_of_twin");
    copy->set_name(made);
    const auto type = static_cast<DataType>(tensor->data_type());
    const std::vector<int64_t> dims(tensor->dims().begin(), tensor->dims().end());
    if (const WeightRef* weight = quantized_.Weight(*tensor); weight != nullptr) {
      MP_RETURN_IF_ERROR(model_.SetWeight(copy, type, dims, *weight));
    } else {
      MP_ASSIGN_OR_RETURN(const auto bytes, quantized_.Bytes(*tensor));
      MP_RETURN_IF_ERROR(model_.SetInline(copy, type, dims, bytes));
    }
    return made;
  }

  // The same operator with inputs copied to where they are new, and one new output.
  onnx::NodeProto Like(const onnx::NodeProto& node, std::vector<std::string> inputs) {
    onnx::NodeProto made = node;
    made.clear_input();
    for (std::string& input : inputs) made.add_input(std::move(input));
    made.clear_output();
    made.add_output(names_.Make("twin"));
    made.set_name(names_.Make(node.name() + "_twin"));
    return made;
  }

  absl::Status AddTwin(onnx::GraphProto& graph, const std::string& path,
                       const onnx::NodeProto& node, const onnx::GraphProto& coded_graph,
                       const onnx::NodeProto& coded, std::vector<onnx::NodeProto>* nodes) {
    const onnx::NodeProto* x = index_.Producer(coded_graph, coded.input(0));
    const onnx::NodeProto* w = index_.Producer(coded_graph, coded.input(1));
    for (const onnx::NodeProto* dequantize : {x, w}) {
      if (dequantize == nullptr || dequantize->op_type() != "DequantizeLinear" ||
          dequantize->input_size() < 3) {
        return absl::OkStatus();
      }
    }
    if (index_.Constant(coded_graph, w->input(0)) == nullptr) return absl::OkStatus();
    MP_ASSIGN_OR_RETURN(const std::string scale, Copy(coded_graph, x->input(1), graph));
    MP_ASSIGN_OR_RETURN(const std::string zero, Copy(coded_graph, x->input(2), graph));
    std::vector<std::string> weight;
    for (int i = 0; i < 3; ++i) {
      MP_ASSIGN_OR_RETURN(std::string name, Copy(coded_graph, w->input(i), graph));
      weight.push_back(std::move(name));
    }
    onnx::NodeProto quantize = Like(*x, {node.input(0), scale, zero});
    quantize.set_op_type("QuantizeLinear");
    const onnx::NodeProto dequantize = Like(*x, {quantize.output(0), scale, zero});
    const onnx::NodeProto weights = Like(*w, weight);
    std::vector<std::string> inputs = {dequantize.output(0), weights.output(0)};
    if (node.input_size() > 2) inputs.push_back(node.input(2));
    const onnx::NodeProto twin = Like(node, inputs);
    onnx::NodeProto difference;
    difference.set_op_type("Sub");
    difference.add_input(node.output(0));
    difference.add_input(twin.output(0));
    difference.add_output(names_.Make(node.output(0) + "_error"));
    difference.set_name(names_.Make(node.name() + "_error"));
    layers_.push_back({node.name(), {.key = {path, difference.output(0)}, .channel_axis = 1}});
    for (const onnx::NodeProto& made : {quantize, dequantize, weights, twin, difference}) {
      nodes->push_back(made);
    }
    return absl::OkStatus();
  }

  Model& quantized_;
  GraphIndex index_;
  Model model_;
  UniqueNames names_;
  std::vector<Layer> layers_;
};

}  // namespace

absl::StatusOr<std::vector<BiasCorrection>> MeasureBiasCorrections(Model& quantized,
                                                                   const Model& reference,
                                                                   const Samples& samples,
                                                                   const JobContext& context) {
  std::vector<BiasCorrection> corrections;
  if (samples.batches() < 5) return corrections;
  Comparison comparison(quantized, reference);
  MP_RETURN_IF_ERROR(comparison.Build());
  std::vector<StatisticRequest> requests;
  for (const auto& layer : comparison.layers()) requests.push_back(layer.difference);
  if (requests.empty()) return corrections;
  MP_ASSIGN_OR_RETURN(const Statistics fit,
                      GatherStatistics(comparison.model(), Part(samples, /*held_back=*/false),
                                       requests, context, nullptr));
  MP_ASSIGN_OR_RETURN(const Statistics held_back,
                      GatherStatistics(comparison.model(), Part(samples, /*held_back=*/true),
                                       requests, context, nullptr));
  for (const auto& layer : comparison.layers()) {
    const ValueStatistics* seen = fit.Find(layer.difference.key);
    const ValueStatistics* held = held_back.Find(layer.difference.key);
    if (seen == nullptr || held == nullptr || !seen->channels || !held->channels ||
        seen->channels->mean.size() != held->channels->mean.size()) {
      continue;
    }
    BiasCorrection& row = corrections.emplace_back();
    row.node = layer.node;
    row.channels = seen->channels->mean.size();
    for (size_t c = 0; c < row.channels; ++c) {
      const double shift = seen->channels->mean[c], mean = held->channels->mean[c];
      const bool keep = std::abs(mean - shift) < std::abs(mean);
      row.shift.push_back(keep ? static_cast<float>(shift) : 0.0f);
      row.kept += keep ? 1 : 0;
    }
  }
  return corrections;
}

absl::Status ShiftBiases(Model& model, const std::vector<BiasCorrection>& corrections,
                         WeightArena& arena) {
  NodesByName nodes = NodesOf(model.mutable_proto());
  UniqueNames names(model.proto());
  const GraphIndex index(model.mutable_proto());
  struct Shifted {
    onnx::GraphProto* graph;
    onnx::NodeProto* node;
    std::vector<float> bias;
  };
  std::vector<Shifted> shifted;
  for (const BiasCorrection& row : corrections) {
    const auto found = nodes.find(row.node);
    if (row.kept == 0 || found == nodes.end()) continue;
    const auto [graph, node] = found->second;
    Shifted next{graph, node, row.shift};
    if (node->input_size() > 2 && !node->input(2).empty()) {
      const onnx::TensorProto* tensor = index.Constant(*graph, node->input(2));
      if (tensor == nullptr) continue;
      MP_ASSIGN_OR_RETURN(const auto bytes, model.Bytes(*tensor));
      if (bytes.size() != next.bias.size() * sizeof(float)) continue;
      for (size_t c = 0; c < next.bias.size(); ++c) {
        float value;
        std::memcpy(&value, bytes.data() + c * sizeof(float), sizeof(float));
        next.bias[c] += value;
      }
    }
    shifted.push_back(std::move(next));
  }
  for (Shifted& next : shifted) {
    const bool had_bias = next.node->input_size() > 2 && !next.node->input(2).empty();
    onnx::TensorProto* tensor = next.graph->add_initializer();
    const std::string name =
        had_bias ? names.Make(next.node->input(2) + "_corrected") : names.Make(next.node->output(0) + "_bias");
    tensor->set_name(name);
    const std::vector<int64_t> dims = {static_cast<int64_t>(next.bias.size())};
    MP_RETURN_IF_ERROR(model.SetBytes(tensor, DataType::kFloat, dims,
                                      std::as_bytes(std::span(next.bias)), arena));
    while (next.node->input_size() < 3) next.node->add_input("");
    next.node->set_input(2, name);
  }
  return absl::OkStatus();
}

}  // namespace modelpress
