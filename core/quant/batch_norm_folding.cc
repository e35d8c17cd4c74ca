// BatchNormalization into the linear operator before it; see batch_norm_folding.h.
#include "core/quant/batch_norm_folding.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <optional>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/quant/quantize_tensor.h"
#include "core/quant/skip.h"
#include "core/quant/weight_selection.h"
#include "onnx/shape_inference/implementation.h"

namespace modelpress {
namespace {

// Why a BatchNormalization stays.
struct Stays {
  SkipReason reason;
  std::string detail;
};

std::optional<std::vector<double>> Floats(const Model& model, const onnx::TensorProto* tensor) {
  if (tensor == nullptr || Type(*tensor) != DataType::kFloat) return std::nullopt;
  const auto bytes = model.Bytes(*tensor);
  if (!bytes.ok()) return std::nullopt;
  std::vector<double> values(bytes->size() / sizeof(float));
  for (size_t i = 0; i < values.size(); ++i) {
    float value;
    std::memcpy(&value, bytes->data() + i * sizeof(float), sizeof(float));
    values[i] = value;
  }
  return values;
}

// y = factor * x + shift for each channel.
struct Affine {
  std::vector<double> factor;
  std::vector<double> shift;
};

class Folder {
 public:
  Folder(Model& model, WeightArena& arena, const JobContext& context)
      : model_(model),
        arena_(arena),
        context_(context),
        names_(model.proto()),
        index_(model.mutable_proto()) {
    // Only for the rank of a MatMul's result; a model it cannot handle keeps those MatMuls.
    try {
      onnx::ModelProto inferred = model.proto();
      onnx::shape_inference::InferShapes(inferred);
      ForEachGraph(inferred, [&](const onnx::GraphProto& graph, int) {
        for (const auto& value : graph.value_info()) {
          if (value.type().tensor_type().has_shape()) {
            ranks_[value.name()] = value.type().tensor_type().shape().dim_size();
          }
        }
      });
    } catch (const std::exception&) {
      ranks_.clear();
    }
  }

  absl::StatusOr<BatchNormFolding> Run() {
    std::vector<std::pair<onnx::GraphProto*, onnx::NodeProto*>> candidates;
    ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      for (onnx::NodeProto& node : *graph.mutable_node()) {
        if (node.op_type() == "BatchNormalization" && IsDefaultDomain(node.domain())) {
          candidates.emplace_back(&graph, &node);
        }
      }
    });
    for (const auto& [graph, node] : candidates) {
      MP_RETURN_IF_ERROR(context_.cancellation->Check());
      MP_ASSIGN_OR_RETURN(const std::optional<Stays> stays, Fold(*graph, *node));
      if (stays.has_value()) {
        const std::string& name = node->name().empty() ? node->output(0) : node->name();
        result_.skips.push_back(MakeSkip(stays->reason, "", name, stays->detail));
      }
    }
    ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      auto& nodes = *graph.mutable_node();
      nodes.erase(
          std::remove_if(nodes.begin(), nodes.end(),
                         [&](const onnx::NodeProto& node) { return folded_.contains(&node); }),
          nodes.end());
    });
    return std::move(result_);
  }

 private:
  std::optional<Affine> AffineOf(const onnx::GraphProto& graph, const onnx::NodeProto& node) {
    std::vector<std::vector<double>> inputs;
    for (int i = 1; i < 5; ++i) {
      auto values = Floats(model_, index_.Constant(graph, node.input(i)));
      if (!values.has_value()) return std::nullopt;
      inputs.push_back(*std::move(values));
    }
    const auto& scale = inputs[0];
    const auto& bias = inputs[1];
    const auto& mean = inputs[2];
    const auto& variance = inputs[3];
    const double epsilon = FloatAttribute(node, "epsilon", 1e-5f);
    Affine affine;
    for (size_t c = 0; c < scale.size(); ++c) {
      if (bias.size() != scale.size() || mean.size() != scale.size() ||
          variance.size() != scale.size()) {
        return std::nullopt;
      }
      const double factor = scale[c] / std::sqrt(variance[c] + epsilon);
      affine.factor.push_back(factor);
      affine.shift.push_back(bias[c] - mean[c] * factor);
      if (!std::isfinite(factor) || !std::isfinite(affine.shift[c])) return std::nullopt;
    }
    return affine;
  }

  absl::StatusOr<std::optional<Stays>> Fold(onnx::GraphProto& graph, onnx::NodeProto& node) {
    const auto outputs = std::ranges::count_if(node.output(), [](auto& o) { return !o.empty(); });
    if (outputs != 1 || node.input_size() != 5 || IntAttribute(node, "training_mode", 0) != 0 ||
        IntAttribute(node, "spatial", 1) == 0) {
      return Stays{SkipReason::kNoProducer, "not the inference form of BatchNormalization"};
    }
    onnx::NodeProto* producer = index_.Producer(graph, node.input(0));
    const std::string op =
        producer != nullptr && IsDefaultDomain(producer->domain()) ? producer->op_type() : "";
    if (op != "Conv" && op != "ConvTranspose" && op != "Gemm" && op != "MatMul") {
      return Stays{SkipReason::kNoProducer,
                   FormatString("follows {}, not Conv, ConvTranspose, Gemm or MatMul",
                                producer == nullptr ? "an input" : producer->op_type())};
    }
    if (index_.DefiningGraph(graph, node.input(0)) != &graph ||
        index_.Uses(graph, node.input(0)).size() != 1 ||
        index_.IsGraphOutput(graph, node.input(0))) {
      return Stays{SkipReason::kSharedProducer, "the value between the two has other readers"};
    }
    const std::optional<Affine> affine = AffineOf(graph, node);
    if (!affine.has_value()) {
      return Stays{SkipReason::kNotFinite,
                   "its parameters are not float constants, or give a factor that is not finite"};
    }
    return Apply(graph, node, *producer, *affine);
  }

  absl::StatusOr<std::optional<Stays>> Apply(onnx::GraphProto& graph, onnx::NodeProto& node,
                                             onnx::NodeProto& producer, const Affine& affine) {
    const std::string op = producer.op_type();
    const uint64_t channels = affine.factor.size();
    onnx::TensorProto* weight = index_.Constant(graph, producer.input(1));
    if (weight == nullptr || Type(*weight) != DataType::kFloat) {
      return Stays{SkipReason::kNoProducer, "the weight before it is not a float32 constant"};
    }
    if (index_.Uses(graph, producer.input(1)).size() != 1 ||
        index_.IsGraphOutput(graph, producer.input(1))) {
      return Stays{SkipReason::kSharedProducer, "the weight before it has other readers"};
    }
    const std::vector<int64_t> dims(weight->dims().begin(), weight->dims().end());
    MP_RETURN_IF_ERROR(ElementCount(dims).status());
    const int64_t groups = op == "ConvTranspose" ? IntAttribute(producer, "group", 1) : 1;
    const auto axis = ChannelAxis({&graph, &producer, 1}, dims.size());
    const bool fits = axis.has_value() && groups > 0 &&
                      static_cast<uint64_t>(dims[*axis]) * groups == channels &&
                      dims[0] % groups == 0;
    // BatchNormalization's channels are axis 1, a MatMul's the last one: the same in two
    // dimensions.
    const bool flat = op != "MatMul" || (dims.size() == 2 && ranks_[producer.output(0)] == 2);
    if (!fits || !flat) {
      return Stays{SkipReason::kNoChannelAxis,
                   "its channels are not those of the weight before it"};
    }
    // A Gemm computes alpha A B + beta C: what is folded into C must come out of beta.
    const double beta = op == "Gemm" ? FloatAttribute(producer, "beta", 1.0f) : 1.0;
    std::vector<double> bias(channels, 0.0);
    if (producer.input_size() > 2 && !producer.input(2).empty()) {
      const auto old = Floats(model_, index_.Constant(graph, producer.input(2)));
      if (!old.has_value() || (old->size() != channels && old->size() != 1)) {
        return Stays{SkipReason::kNoProducer, "the bias before it is not a constant of one row"};
      }
      for (uint64_t c = 0; c < channels; ++c) bias[c] = beta * (*old)[old->size() == 1 ? 0 : c];
    }
    for (uint64_t c = 0; c < channels; ++c) {
      bias[c] = bias[c] * affine.factor[c] + affine.shift[c];
    }
    MP_RETURN_IF_ERROR(ScaleWeight(weight, dims, *axis, groups, affine.factor));
    MP_ASSIGN_OR_RETURN(const std::string bias_name, AddBias(graph, producer, bias));

    Change change;
    change.set_tensor(producer.input(1));
    change.set_node(node.name().empty() ? node.output(0) : node.name());
    change.set_what(FormatString("folded into the {} before it, {} channels", op, channels));
    result_.changes.push_back(std::move(change));
    if (op == "MatMul") {
      node.set_op_type("Add");
      node.clear_attribute();
      node.mutable_input()->DeleteSubrange(2, node.input_size() - 2);
      node.set_input(1, bias_name);
      return std::nullopt;
    }
    while (producer.input_size() < 3) producer.add_input();
    producer.set_input(2, bias_name);
    for (auto& attribute : *producer.mutable_attribute()) {
      if (op == "Gemm" && attribute.name() == "beta") attribute.set_f(1.0f);
    }
    producer.set_output(0, node.output(0));
    folded_.insert(&node);
    return std::nullopt;
  }

  absl::Status ScaleWeight(onnx::TensorProto* tensor, const std::vector<int64_t>& dims, size_t axis,
                           int64_t groups, const std::vector<double>& factor) {
    MP_ASSIGN_OR_RETURN(const auto values, model_.Bytes(*tensor));
    MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena_.Allocate(values.size()));
    const ChannelLayout layout = LayoutOf(dims, axis);
    // Rows of ConvTranspose belong to groups, each with its own output channels.
    const uint64_t rows_per_group = layout.outer / groups;
    MP_RETURN_IF_ERROR(context_.pool->ParallelFor(layout.outer * layout.channels, [&](size_t run) {
      const uint64_t channel = run % layout.channels;
      const uint64_t group = rows_per_group == 0 ? 0 : run / layout.channels / rows_per_group;
      const double by = factor[group * layout.channels + channel];
      for (uint64_t i = run * layout.inner; i < (run + 1) * layout.inner; ++i) {
        float value;
        std::memcpy(&value, values.data() + i * sizeof(value), sizeof(value));
        value = static_cast<float>(value * by);
        std::memcpy(room.bytes.data() + i * sizeof(value), &value, sizeof(value));
      }
      return context_.cancellation->Check();
    }));
    return model_.SetBytes(tensor, DataType::kFloat, dims, std::move(room.weight));
  }

  absl::StatusOr<std::string> AddBias(onnx::GraphProto& graph, const onnx::NodeProto& producer,
                                      const std::vector<double>& bias) {
    const std::vector<float> values(bias.begin(), bias.end());
    const int64_t dims[] = {static_cast<int64_t>(values.size())};
    onnx::TensorProto* tensor = graph.add_initializer();
    std::string name = names_.Make(producer.input(1) + "_folded_bias");
    tensor->set_name(name);
    MP_RETURN_IF_ERROR(
        model_.SetBytes(tensor, DataType::kFloat, dims, std::as_bytes(std::span(values)), arena_));
    return name;
  }

  Model& model_;
  WeightArena& arena_;
  const JobContext& context_;
  UniqueNames names_;
  GraphIndex index_;
  absl::flat_hash_map<std::string, int> ranks_;
  absl::flat_hash_set<const onnx::NodeProto*> folded_;
  BatchNormFolding result_;
};

}  // namespace

absl::StatusOr<BatchNormFolding> FoldBatchNorms(Model& model, WeightArena& arena,
                                                const JobContext& context) {
  SeparateInitializersFromInputs(model);
  auto result = Folder(model, arena, context).Run();
  if (result.ok()) RemoveDead(model.mutable_proto());
  return result;
}

}  // namespace modelpress
