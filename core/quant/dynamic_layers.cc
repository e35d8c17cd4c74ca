// Which layers can run in 8-bit integers, and the codes of their weights; see dynamic_layers.h.
#include "core/quant/dynamic_layers.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/quant/skip.h"
#include "core/quant/value_types.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

constexpr uint64_t kDefaultMinElements = 1024;

// Why a reading of a weight cannot become an integer one.
struct Refusal {
  SkipReason reason;
  std::string detail;
};

class Finder {
 public:
  Finder(Model& model, const GraphIndex& index, const v1::WeightSelection& selection,
         bool convolutions)
      : index_(index),
        selection_(selection),
        convolutions_(convolutions),
        types_(model.mutable_proto(), index) {
    int graph_place = 0;
    ForEachGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      for (int i = 0; i < graph.node_size(); ++i) places_[&graph.node(i)] = {graph_place, i};
      ++graph_place;
    });
  }

  absl::StatusOr<DynamicLayers> Find(Model& model) {
    v1::WeightSelection all = selection_;
    // An LSTM is taken or left with both of its weights, so sizes are looked at by layer.
    all.set_min_elements(1);
    if (all.op_types().empty()) {
      for (const char* op :
           {"MatMul", "Gemm", "LSTM", "GRU", "RNN", "Conv", "ConvTranspose", "Gather"}) {
        all.add_op_types(op);
      }
    }
    MP_ASSIGN_OR_RETURN(SelectedWeights selected, SelectWeights(model, index_, all));
    result_.skips = std::move(selected.skips);
    std::vector<CandidateWeight> kept;
    for (CandidateWeight& weight : selected.weights) {
      if (const auto refusal = Refuse(weight); refusal.has_value()) {
        Skip(weight, *refusal);
      } else {
        kept.push_back(std::move(weight));
      }
    }
    TakeLayers(std::move(kept));
    return std::move(result_);
  }

 private:
  void Skip(const CandidateWeight& weight, const Refusal& refusal) {
    result_.skips.push_back(MakeSkip(refusal.reason, weight.name, weight.reader(), refusal.detail));
  }

  static std::optional<DynamicLayout> LayoutAt(const Use& use) {
    const onnx::NodeProto& node = *use.node;
    if (!IsDefaultDomain(node.domain())) return std::nullopt;
    if (node.op_type() == "LSTM" && (use.input == 1 || use.input == 2)) {
      return DynamicLayout::kRecurrent;
    }
    if (use.input != 1) return std::nullopt;
    if (node.op_type() == "MatMul") return DynamicLayout::kMatrix;
    if (node.op_type() == "Conv") return DynamicLayout::kKernel;
    if (node.op_type() != "Gemm") return std::nullopt;
    return IntAttribute(node, "transB", 0) != 0 ? DynamicLayout::kTransposed
                                                : DynamicLayout::kMatrix;
  }

  // What speaks against one reading, by operator.
  std::optional<Refusal> RefuseUse(const Use& use) const {
    const onnx::NodeProto& node = *use.node;
    const std::string& op = node.op_type();
    if (op == "Conv" && use.input == 1 && !convolutions_) {
      return Refusal{SkipReason::kSlower,
                     "ConvInteger is faster than the float Conv for few shapes: quantize_static "
                     "makes convolutions fast, convolutions: faster tries each"};
    }
    if (op == "Conv" && node.input_size() > 2 && !node.input(2).empty()) {
      const onnx::TensorProto* bias = index_.Constant(*use.graph, node.input(2));
      if (bias == nullptr || Type(*bias) != DataType::kFloat) {
        return Refusal{SkipReason::kOperatorNeedsFloat, "its bias is not a float32 constant"};
      }
    }
    if (op == "Gather") {
      return Refusal{SkipReason::kOperatorNeedsFloat,
                     "an embedding does no arithmetic: other_weights stores it as codes"};
    }
    if (op == "GRU" || op == "RNN" || op == "ConvTranspose") {
      return Refusal{SkipReason::kOperatorNeedsFloat,
                     FormatString("the runtime has no integer kernel for {}", op)};
    }
    if (!LayoutAt(use).has_value()) {
      return Refusal{
          SkipReason::kOperatorNeedsFloat,
          FormatString("input {} of {} is not one that an integer operator takes codes at",
                       use.input, op)};
    }
    if (op == "Gemm" && IntAttribute(node, "transA", 0) != 0) {
      return Refusal{SkipReason::kOperatorNeedsFloat, "a Gemm with transA has no integer form"};
    }
    if (op == "LSTM" && IntAttribute(node, "layout", 0) != 0) {
      return Refusal{SkipReason::kOperatorNeedsFloat, "an LSTM with layout 1 has no integer form"};
    }
    if (types_.Find(*use.graph, node.input(0)) != DataType::kFloat) {
      return Refusal{SkipReason::kNotFloat, "the activations are not known to be float32"};
    }
    const onnx::NodeProto* producer = index_.Producer(*use.graph, node.input(0));
    if (producer != nullptr && producer->op_type() == "DequantizeLinear") {
      return Refusal{SkipReason::kAlreadyQuantized, "the activations are quantized already"};
    }
    return std::nullopt;
  }

  std::optional<Refusal> Refuse(const CandidateWeight& weight) const {
    if (Type(*weight.tensor) != DataType::kFloat) {
      return Refusal{SkipReason::kNotFloat,
                     FormatString("{}; only float32 layers have an integer form",
                                  DataTypeName(Type(*weight.tensor)))};
    }
    std::optional<DynamicLayout> layout;
    for (const Use& use : weight.uses) {
      auto refusal = RefuseUse(use);
      const bool only = weight.uses.size() == 1;
      if (refusal.has_value() && only) return refusal;
      if (refusal.has_value() || (layout.has_value() && layout != LayoutAt(use))) {
        return Refusal{SkipReason::kOtherReaders,
                       FormatString("also read by {} in another way, so that its floats would have "
                                    "to stay",
                                    NodeName(*use.node))};
      }
      layout = LayoutAt(use);
    }
    const size_t rank = Dims(*weight.tensor).size();
    const bool fits = layout == DynamicLayout::kRecurrent ? rank == 3
                      : layout == DynamicLayout::kKernel  ? rank >= 3
                      : layout == DynamicLayout::kMatrix  ? rank >= 2
                                                          : rank == 2;
    if (!fits) return Refusal{SkipReason::kNoChannelAxis, "its rank has no integer form"};
    return std::nullopt;
  }

  // Layers all of whose weights are there, and then weights all of whose readers are.
  void TakeLayers(std::vector<CandidateWeight> weights) {
    // By place, so that reports do not depend on addresses.
    std::map<std::pair<int, int>, std::vector<std::pair<int, size_t>>> nodes;
    std::map<std::pair<int, int>, const onnx::NodeProto*> at;
    for (size_t w = 0; w < weights.size(); ++w) {
      for (const Use& use : weights[w].uses) {
        const auto place = places_.at(use.node);
        nodes[place].emplace_back(use.input, w);
        at[place] = use.node;
      }
    }
    const uint64_t minimum =
        selection_.has_min_elements() ? selection_.min_elements() : kDefaultMinElements;
    std::vector<std::optional<Refusal>> refused(weights.size());
    for (bool changed = true; changed;) {
      changed = false;
      for (const auto& [place, inputs] : nodes) {
        std::optional<Refusal> why;
        uint64_t elements = 0;
        for (const auto& [input, w] : inputs) {
          elements += weights[w].elements;
          if (refused[w].has_value()) {
            why =
                Refusal{refused[w]->reason, FormatString("its layer keeps '{}'", weights[w].name)};
          }
        }
        if (inputs.size() != (at.at(place)->op_type() == "LSTM" ? 2u : 1u)) {
          why = Refusal{SkipReason::kOperatorNeedsFloat, "the layer's other weight stays float"};
        } else if (elements < minimum) {
          why = Refusal{SkipReason::kTooSmall,
                        FormatString("{} elements, min_elements is {}", elements, minimum)};
        }
        if (!why.has_value()) continue;
        for (const auto& [input, w] : inputs) {
          if (refused[w].has_value()) continue;
          refused[w] = why;
          changed = true;
        }
      }
    }
    std::vector<size_t> new_place(weights.size());
    for (size_t w = 0; w < weights.size(); ++w) {
      if (refused[w].has_value()) {
        Skip(weights[w], *refused[w]);
        continue;
      }
      new_place[w] = result_.weights.size();
      result_.layouts.push_back(*LayoutAt(weights[w].uses[0]));
      result_.weights.push_back(std::move(weights[w]));
    }
    for (auto& [place, inputs] : nodes) {
      if (std::ranges::any_of(inputs,
                              [&](auto& entry) { return refused[entry.second].has_value(); })) {
        continue;
      }
      std::ranges::sort(inputs);
      const onnx::NodeProto& node = *at.at(place);
      DynamicLayer layer{place.first, place.second, NodeName(node), node.op_type(), {}};
      for (const auto& [input, w] : inputs) layer.weights.push_back(new_place[w]);
      result_.layers.push_back(std::move(layer));
    }
  }

  const GraphIndex& index_;
  const v1::WeightSelection& selection_;
  const bool convolutions_;
  ValueTypes types_;
  std::map<const onnx::NodeProto*, std::pair<int, int>> places_;
  DynamicLayers result_;
};

// [outer, rows, columns] to [outer, columns, rows], in stripes of columns.
absl::Status TransposeBytes(std::span<const std::byte> from, uint64_t outer, uint64_t rows,
                            uint64_t columns, std::span<std::byte> to, const JobContext& context) {
  constexpr uint64_t kStripe = 64;
  const uint64_t stripes = (columns + kStripe - 1) / kStripe;
  return context.pool->ParallelFor(outer * stripes, [&](size_t piece) {
    const uint64_t matrix = piece / stripes * rows * columns;
    const uint64_t begin = piece % stripes * kStripe;
    const uint64_t end = std::min(columns, begin + kStripe);
    for (uint64_t r = 0; r < rows; ++r) {
      for (uint64_t c = begin; c < end; ++c)
        to[matrix + c * rows + r] = from[matrix + r * columns + c];
    }
    return context.cancellation->Check();
  });
}

absl::StatusOr<WeightRef> Store(std::span<const std::byte> bytes, WeightArena& arena) {
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena.Allocate(bytes.size()));
  std::ranges::copy(bytes, room.bytes.begin());
  return std::move(room.weight);
}

}  // namespace

absl::StatusOr<DynamicLayers> FindDynamicLayers(Model& model, const GraphIndex& index,
                                                const v1::WeightSelection& selection,
                                                bool convolutions) {
  return Finder(model, index, selection, convolutions).Find(model);
}

absl::StatusOr<DynamicWeight> EncodeDynamicWeight(const Model& model, const CandidateWeight& weight,
                                                  DynamicLayout layout, const AffineRule& asked,
                                                  bool per_channel, WeightArena& arena,
                                                  const JobContext& context,
                                                  const ByteProgress& progress) {
  const bool one_zero_point =
      layout == DynamicLayout::kKernel || (layout == DynamicLayout::kRecurrent && per_channel);
  const AffineRule rule = one_zero_point ? AffineRule{} : asked;
  DynamicWeight result;
  result.name = weight.name;
  result.type = rule.type == CodeType::kInt8 ? DataType::kInt8 : DataType::kUint8;
  result.symmetric = rule.symmetric;
  const auto dims = Dims(*weight.tensor);
  result.dims.assign(dims.begin(), dims.end());
  const size_t rank = dims.size();
  ChannelLayout channels = WholeTensor(weight.elements);
  if (layout == DynamicLayout::kRecurrent) {
    const uint64_t directions = dims[0];
    channels = {1, directions, weight.elements / std::max<uint64_t>(directions, 1)};
    result.parameter_dims = {dims[0]};
    if (per_channel) {
      channels = {1, directions * dims[1], static_cast<uint64_t>(dims[2])};
      result.parameter_dims.push_back(dims[1]);
    }
  } else if (layout == DynamicLayout::kKernel) {
    if (per_channel) {
      channels = LayoutOf(dims, 0);
      result.parameter_dims.assign(rank - 1, 1);
      result.parameter_dims[0] = dims[0];
    }
  } else if (per_channel) {
    const size_t axis = layout == DynamicLayout::kTransposed ? 0 : rank - 1;
    channels = LayoutOf(dims, axis);
    result.parameter_dims = {dims[axis]};
  }
  MP_ASSIGN_OR_RETURN(const std::span<const std::byte> values, model.Bytes(*weight.tensor));
  MP_ASSIGN_OR_RETURN(WeightArena::Room room, arena.Allocate(weight.elements));
  MP_ASSIGN_OR_RETURN(QuantizedTensor coded, QuantizeTensor(values, channels, rule, kNoDeadZone,
                                                            room.bytes, context, progress));
  result.finite = coded.finite;
  result.sums = coded.sums;
  if (!coded.finite) return result;
  if (layout == DynamicLayout::kTransposed || layout == DynamicLayout::kRecurrent) {
    std::swap(result.dims[rank - 1], result.dims[rank - 2]);
    MP_ASSIGN_OR_RETURN(WeightArena::Room turned, arena.Allocate(weight.elements));
    const uint64_t rows = dims[rank - 2], columns = dims[rank - 1];
    MP_RETURN_IF_ERROR(TransposeBytes(room.bytes, weight.elements / (rows * columns), rows, columns,
                                      turned.bytes, context));
    room = std::move(turned);
  }
  std::vector<float> scales;
  std::vector<uint8_t> zero_points;
  for (const AffineParameters& p : coded.parameters) {
    scales.push_back(p.scale);
    zero_points.push_back(static_cast<uint8_t>(p.zero_point));
  }
  result.zero_point_dims = result.parameter_dims;
  if (layout == DynamicLayout::kKernel) {
    // int8 as uint8 with zero point 128.
    for (std::byte& code : room.bytes) code ^= std::byte{0x80};
    result.type = DataType::kUint8;
    zero_points = {128};
    result.zero_point_dims.clear();
  }
  result.codes = std::move(room.weight);
  MP_ASSIGN_OR_RETURN(result.scales, Store(std::as_bytes(std::span(scales)), arena));
  MP_ASSIGN_OR_RETURN(result.zero_points, Store(std::as_bytes(std::span(zero_points)), arena));
  return result;
}

}  // namespace modelpress
