// Constant factors and summands into convolutions; see affine_folding.h.
#include "core/quant/affine_folding.h"

#include <re2/re2.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "core/base/status.h"
#include "core/model/graph.h"

namespace modelpress {
namespace {

using Values = std::vector<double>;

// Each round works on a fresh index; what one round makes possible the next one does.
constexpr int kMaxRounds = 16;
constexpr int64_t kMostChannels = 1 << 20;

class Folder {
 public:
  Folder(Model& model, WeightArena& arena)
      : model_(model), arena_(arena), names_(model.proto()), index_(model.mutable_proto()) {}

  // One round; the number of nodes that went.
  absl::StatusOr<int> Run(AffineFolding* counts) {
    std::vector<std::pair<onnx::GraphProto*, onnx::NodeProto*>> nodes;
    ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      for (onnx::NodeProto& node : *graph.mutable_node()) {
        if (IsDefaultDomain(node.domain())) nodes.emplace_back(&graph, &node);
      }
    });
    for (const auto& [graph, node] : nodes) {
      const std::string& op = node->op_type();
      if (op == "Div" || op == "Mul") HardSwish(*graph, *node);
      if (op != "Mul" && op != "Add") continue;
      MP_ASSIGN_OR_RETURN(const bool behind, BehindConv(*graph, *node));
      if (!behind) MP_RETURN_IF_ERROR(BeforeConvs(*graph, *node));
    }
    const int removed = static_cast<int>(dead_.size());
    counts->into_convolutions += folded_;
    counts->hard_swish += swishes_;
    ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      auto& list = *graph.mutable_node();
      list.erase(std::remove_if(list.begin(), list.end(),
                                [&](const onnx::NodeProto& node) { return dead_.contains(&node); }),
                 list.end());
    });
    if (removed + swishes_ > 0) RemoveDead(model_.mutable_proto());
    return removed + swishes_;
  }

 private:
  bool Fresh(std::initializer_list<const onnx::NodeProto*> nodes) const {
    return std::ranges::none_of(nodes, [&](const auto* node) { return touched_.contains(node); });
  }
  void Touch(std::initializer_list<const onnx::NodeProto*> nodes) {
    touched_.insert(nodes.begin(), nodes.end());
  }

  std::optional<Values> Floats(const onnx::TensorProto* tensor) const {
    if (tensor == nullptr || Type(*tensor) != DataType::kFloat) return std::nullopt;
    const auto bytes = model_.Bytes(*tensor);
    if (!bytes.ok()) return std::nullopt;
    Values values(bytes->size() / sizeof(float));
    for (size_t i = 0; i < values.size(); ++i) {
      float value;
      std::memcpy(&value, bytes->data() + i * sizeof(float), sizeof(float));
      values[i] = value;
    }
    return values;
  }

  std::optional<double> Scalar(const onnx::GraphProto& graph, const std::string& name) const {
    const auto values = Floats(index_.Constant(graph, name));
    if (!values.has_value() || values->size() != 1) return std::nullopt;
    return (*values)[0];
  }

  // A constant input of a Mul or Add and the other one.
  struct Parts {
    const onnx::TensorProto* constant = nullptr;
    int other = 0;
  };
  Parts Split(const onnx::GraphProto& graph, const onnx::NodeProto& node) const {
    if (node.input_size() != 2) return {};
    for (const int i : {0, 1}) {
      const onnx::TensorProto* tensor = index_.Constant(graph, node.input(i));
      if (tensor != nullptr && Type(*tensor) == DataType::kFloat) return {tensor, 1 - i};
    }
    return {};
  }

  // The constant for each of `channels` channels of values of rank `rank`, channels on axis 1.
  std::optional<Values> PerChannel(const onnx::TensorProto& tensor, int64_t channels,
                                   int rank) const {
    auto values = Floats(&tensor);
    if (!values.has_value() || tensor.dims_size() > rank) return std::nullopt;
    if (values->size() == 1) return Values(static_cast<size_t>(channels), (*values)[0]);
    if (static_cast<int64_t>(values->size()) != channels) return std::nullopt;
    const int axis = tensor.dims_size() - (rank - 1);  // where axis 1 is after broadcasting
    if (axis < 0 || tensor.dims(axis) != channels) return std::nullopt;
    return values;
  }

  bool OnlyReader(const onnx::GraphProto& graph, const std::string& name) const {
    return index_.Uses(graph, name).size() == 1 && !index_.IsGraphOutput(graph, name) &&
           index_.Uses(graph, name)[0].graph == &graph;
  }

  struct Conv {
    onnx::NodeProto* node = nullptr;
    std::vector<int64_t> dims;
    Values weight, bias;
    int64_t channels() const { return dims[0]; }
    int64_t per_group() const { return dims[1]; }
    int64_t group = 1;
    size_t taps() const { return weight.size() / static_cast<size_t>(dims[0] * dims[1]); }
  };

  // A Conv with constant weights whose numbers make sense.
  std::optional<Conv> Load(const onnx::GraphProto& graph, onnx::NodeProto* node) const {
    if (node == nullptr || node->op_type() != "Conv" || !IsDefaultDomain(node->domain()) ||
        node->input_size() < 2) {
      return std::nullopt;
    }
    const onnx::TensorProto* tensor = index_.Constant(graph, node->input(1));
    auto weight = Floats(tensor);
    if (!weight.has_value() || weight->empty() || tensor->dims_size() < 3) return std::nullopt;
    Conv conv{.node = node,
              .dims = {tensor->dims().begin(), tensor->dims().end()},
              .weight = *std::move(weight)};
    conv.group = IntAttribute(*node, "group", 1);
    if (conv.group <= 0 || conv.channels() % conv.group != 0) return std::nullopt;
    conv.bias.assign(static_cast<size_t>(conv.channels()), 0);
    if (node->input_size() > 2 && !node->input(2).empty()) {
      auto bias = Floats(index_.Constant(graph, node->input(2)));
      if (!bias.has_value() || bias->size() != conv.bias.size()) return std::nullopt;
      conv.bias = *std::move(bias);
    }
    return conv;
  }

  absl::StatusOr<std::string> AddTensor(onnx::GraphProto& graph, const std::string& base,
                                        std::span<const int64_t> dims, const Values& values) {
    std::vector<float> floats(values.begin(), values.end());
    onnx::TensorProto* tensor = graph.add_initializer();
    // What was folded before keeps its name.
    std::string stem = base;
    static const RE2 kFolded("_folded(_[0-9]+)?$");
    RE2::Replace(&stem, kFolded, "");
    const std::string name = names_.Make(stem + "_folded");
    tensor->set_name(name);
    MP_RETURN_IF_ERROR(
        model_.SetBytes(tensor, DataType::kFloat, dims, std::as_bytes(std::span(floats)), arena_));
    return name;
  }

  absl::Status Store(onnx::GraphProto& graph, const Conv& conv) {
    MP_ASSIGN_OR_RETURN(std::string weight,
                        AddTensor(graph, conv.node->input(1), conv.dims, conv.weight));
    conv.node->set_input(1, std::move(weight));
    const bool has_bias = conv.node->input_size() > 2 && !conv.node->input(2).empty();
    if (!has_bias && std::ranges::all_of(conv.bias, [](double b) { return b == 0; })) {
      return absl::OkStatus();
    }
    const std::vector<int64_t> dims = {conv.channels()};
    const std::string base = has_bias ? conv.node->input(2) : conv.node->output(0) + "_bias";
    MP_ASSIGN_OR_RETURN(std::string bias, AddTensor(graph, base, dims, conv.bias));
    if (conv.node->input_size() > 2) {
      conv.node->set_input(2, std::move(bias));
    } else {
      conv.node->add_input(std::move(bias));
    }
    return absl::OkStatus();
  }

  // Conv -> Mul or Add.
  absl::StatusOr<bool> BehindConv(onnx::GraphProto& graph, onnx::NodeProto& node) {
    const Parts parts = Split(graph, node);
    if (parts.constant == nullptr) return false;
    const std::string& between = node.input(parts.other);
    onnx::NodeProto* producer = index_.Producer(graph, between);
    if (!OnlyReader(graph, between) || !Fresh({&node, producer})) return false;
    if (producer != nullptr && producer->op_type() == "ConvTranspose" && node.op_type() == "Add" &&
        index_.DefiningGraph(graph, between) == &graph) {
      return IntoTransposeBias(graph, node, *producer, *parts.constant);
    }
    auto conv = Load(graph, producer);
    if (!conv.has_value() || index_.DefiningGraph(graph, between) != &graph) return false;
    const auto by =
        PerChannel(*parts.constant, conv->channels(), static_cast<int>(conv->dims.size()));
    if (!by.has_value()) return false;
    const size_t row = conv->weight.size() / by->size();
    for (size_t c = 0; c < by->size(); ++c) {
      if (node.op_type() == "Add") {
        conv->bias[c] += (*by)[c];
        continue;
      }
      conv->bias[c] *= (*by)[c];
      for (size_t i = c * row; i < (c + 1) * row; ++i) conv->weight[i] *= (*by)[c];
    }
    MP_RETURN_IF_ERROR(Store(graph, *conv));
    producer->set_output(0, node.output(0));
    Touch({&node, producer});
    dead_.insert(&node);
    ++folded_;
    return true;
  }

  // ConvTranspose -> Add; a BatchNormalization behind them can then be folded too.
  absl::StatusOr<bool> IntoTransposeBias(onnx::GraphProto& graph, onnx::NodeProto& add,
                                         onnx::NodeProto& transpose,
                                         const onnx::TensorProto& constant) {
    const onnx::TensorProto* weight = index_.Constant(graph, transpose.input(1));
    const int64_t group = IntAttribute(transpose, "group", 1);
    if (!IsDefaultDomain(transpose.domain()) || weight == nullptr || weight->dims_size() < 3 ||
        group <= 0 || weight->dims(1) <= 0 || weight->dims(1) > kMostChannels / group) {
      return false;
    }
    const int64_t channels = weight->dims(1) * group;
    const auto summand = PerChannel(constant, channels, weight->dims_size());
    if (!summand.has_value()) return false;
    Values bias = *summand;
    const bool has_bias = transpose.input_size() > 2 && !transpose.input(2).empty();
    if (has_bias) {
      const auto before = Floats(index_.Constant(graph, transpose.input(2)));
      if (!before.has_value() || before->size() != bias.size()) return false;
      for (size_t c = 0; c < bias.size(); ++c) bias[c] += (*before)[c];
    }
    const std::vector<int64_t> dims = {channels};
    MP_ASSIGN_OR_RETURN(
        const std::string name,
        AddTensor(graph, has_bias ? transpose.input(2) : transpose.output(0) + "_bias", dims,
                  bias));
    while (transpose.input_size() < 3) transpose.add_input("");
    transpose.set_input(2, name);
    transpose.set_output(0, add.output(0));
    Touch({&add, &transpose});
    dead_.insert(&add);
    ++folded_;
    return true;
  }

  static bool IsPadded(const onnx::NodeProto& conv) {
    const onnx::AttributeProto* automatic = FindAttribute(conv, "auto_pad");
    if (automatic != nullptr && automatic->s() != "NOTSET" && automatic->s() != "VALID" &&
        !automatic->s().empty()) {
      return true;
    }
    const onnx::AttributeProto* pads = FindAttribute(conv, "pads");
    return pads != nullptr &&
           std::ranges::any_of(pads->ints(), [](int64_t pad) { return pad != 0; });
  }

  // weight *= factor of its input channel, for each input channel.
  static void ScaleInputs(Conv* conv, const Values& factor) {
    const size_t taps = conv->taps();
    const auto per_group = static_cast<size_t>(conv->per_group());
    const size_t outputs_per_group = static_cast<size_t>(conv->channels() / conv->group);
    for (size_t o = 0; o < static_cast<size_t>(conv->channels()); ++o) {
      for (size_t i = 0; i < per_group; ++i) {
        const double by = factor[o / outputs_per_group * per_group + i];
        for (size_t k = 0; k < taps; ++k) conv->weight[(o * per_group + i) * taps + k] *= by;
      }
    }
  }

  static void AddInputs(Conv* conv, const Values& summand) {
    const size_t taps = conv->taps();
    const auto per_group = static_cast<size_t>(conv->per_group());
    const size_t outputs_per_group = static_cast<size_t>(conv->channels() / conv->group);
    for (size_t o = 0; o < static_cast<size_t>(conv->channels()); ++o) {
      for (size_t i = 0; i < per_group; ++i) {
        const double by = summand[o / outputs_per_group * per_group + i];
        for (size_t k = 0; k < taps; ++k) {
          conv->bias[o] += by * conv->weight[(o * per_group + i) * taps + k];
        }
      }
    }
  }

  // Mul or Add -> Convs and nobody else.
  absl::Status BeforeConvs(onnx::GraphProto& graph, onnx::NodeProto& node) {
    const Parts parts = Split(graph, node);
    const std::string value = node.output(0);
    if (parts.constant == nullptr || index_.IsGraphOutput(graph, value)) return absl::OkStatus();
    const std::vector<Use>& uses = index_.Uses(graph, value);
    std::vector<Conv> convs;
    bool padded = false;
    for (const Use& use : uses) {
      if (use.graph != &graph || use.input != 0 || !Fresh({use.node})) return absl::OkStatus();
      auto conv = Load(graph, use.node);
      if (!conv.has_value()) return absl::OkStatus();
      padded = padded || IsPadded(*use.node);
      convs.push_back(*std::move(conv));
    }
    if (convs.empty() || !Fresh({&node})) return absl::OkStatus();
    const int64_t channels = convs[0].per_group() * convs[0].group;
    const int rank = static_cast<int>(convs[0].dims.size());
    for (const Conv& conv : convs) {
      if (conv.per_group() * conv.group != channels) return absl::OkStatus();
    }
    const auto by = PerChannel(*parts.constant, channels, rank);
    if (!by.has_value()) return absl::OkStatus();
    if (node.op_type() == "Add" && padded) return SwapBeforeConvs(graph, node, parts, convs, *by);
    for (Conv& conv : convs) {
      if (node.op_type() == "Mul") {
        ScaleInputs(&conv, *by);
      } else {
        AddInputs(&conv, *by);
      }
      MP_RETURN_IF_ERROR(Store(graph, conv));
      conv.node->set_input(0, node.input(parts.other));
      Touch({conv.node});
    }
    Touch({&node, index_.Producer(graph, node.input(parts.other))});
    dead_.insert(&node);
    ++folded_;
    return absl::OkStatus();
  }

  // Mul -> Add -> padded Convs: the factor goes into the weights, the summand is divided by it.
  absl::Status SwapBeforeConvs(onnx::GraphProto& graph, onnx::NodeProto& add, const Parts& parts,
                               std::vector<Conv>& convs, const Values& summand) {
    const std::string between = add.input(parts.other);
    onnx::NodeProto* mul = index_.Producer(graph, between);
    if (mul == nullptr || mul->op_type() != "Mul" || !OnlyReader(graph, between) ||
        index_.DefiningGraph(graph, between) != &graph || !Fresh({mul})) {
      return absl::OkStatus();
    }
    const Parts factor_parts = Split(graph, *mul);
    if (factor_parts.constant == nullptr) return absl::OkStatus();
    const auto factor = PerChannel(*factor_parts.constant, static_cast<int64_t>(summand.size()),
                                   static_cast<int>(convs[0].dims.size()));
    if (!factor.has_value()) return absl::OkStatus();
    Values quotient(summand.size());
    for (size_t c = 0; c < summand.size(); ++c) {
      quotient[c] = summand[c] / (*factor)[c];
      // Very small factors would turn rounding into noise.
      if (!(std::abs((*factor)[c]) > 1e-6)) return absl::OkStatus();
    }
    std::vector<int64_t> dims = {static_cast<int64_t>(quotient.size())};
    if (std::ranges::all_of(quotient, [&](double q) { return q == quotient[0]; })) {
      quotient.resize(1);
      dims.clear();
    } else {
      dims.resize(convs[0].dims.size() - 1, 1);
    }
    MP_ASSIGN_OR_RETURN(std::string name,
                        AddTensor(graph, add.input(1 - parts.other), dims, quotient));
    add.set_input(1 - parts.other, std::move(name));
    add.set_input(parts.other, mul->input(factor_parts.other));
    for (Conv& conv : convs) {
      ScaleInputs(&conv, *factor);
      MP_RETURN_IF_ERROR(Store(graph, conv));
      Touch({conv.node});
    }
    Touch({&add, mul});
    dead_.insert(mul);
    ++folded_;
    return absl::OkStatus();
  }

  // x -> Add(3) -> Clip(0, 6) -> Mul(x) -> Div(6): the last node becomes the Mul, the Clip the
  // HardSigmoid.
  void HardSwish(onnx::GraphProto& graph, onnx::NodeProto& last) {
    if (last.input_size() != 2 || !Fresh({&last})) return;
    const auto divisor = Scalar(graph, last.input(1));
    const double sixth = last.op_type() == "Div" ? 6 : 1.0 / 6;
    if (!divisor.has_value() || std::abs(*divisor - sixth) > 1e-6) return;
    onnx::NodeProto* mul = Made(graph, last.input(0), "Mul");
    if (mul == nullptr || mul->input_size() != 2) return;
    for (const int i : {0, 1}) {
      onnx::NodeProto* clip = Made(graph, mul->input(i), "Clip");
      if (clip == nullptr || clip->input_size() < 1 || !IsClip06(graph, *clip)) continue;
      onnx::NodeProto* add = Made(graph, clip->input(0), "Add");
      if (add == nullptr || add->input_size() != 2 || !Fresh({mul, clip, add})) continue;
      const std::string& x = mul->input(1 - i);
      for (const int j : {0, 1}) {
        if (add->input(j) != x || Scalar(graph, add->input(1 - j)) != 3.0) continue;
        const std::string sigmoid = clip->output(0);
        clip->set_op_type("HardSigmoid");
        clip->clear_attribute();
        clip->clear_input();
        clip->add_input(x);
        for (const auto& [name, value] : {std::pair{"alpha", 1.0f / 6}, {"beta", 0.5f}}) {
          onnx::AttributeProto& attribute = *clip->add_attribute();
          attribute.set_name(name);
          attribute.set_type(onnx::AttributeProto::FLOAT);
          attribute.set_f(value);
        }
        last.set_op_type("Mul");
        last.clear_attribute();
        last.set_input(0, x);
        last.set_input(1, sigmoid);
        Touch({&last, mul, clip, add});
        dead_.insert(mul);
        dead_.insert(add);
        ++swishes_;
        return;
      }
    }
  }

  // The node of that type that makes a value nobody else reads.
  onnx::NodeProto* Made(const onnx::GraphProto& graph, const std::string& name,
                        std::string_view op) const {
    onnx::NodeProto* node = index_.Producer(graph, name);
    if (node == nullptr || node->op_type() != op || !IsDefaultDomain(node->domain()) ||
        index_.DefiningGraph(graph, name) != &graph || !OnlyReader(graph, name)) {
      return nullptr;
    }
    return node;
  }

  bool IsClip06(const onnx::GraphProto& graph, const onnx::NodeProto& clip) const {
    if (clip.input_size() == 1) {
      return FloatAttribute(clip, "min", -1) == 0 && FloatAttribute(clip, "max", -1) == 6;
    }
    return clip.input_size() == 3 && Scalar(graph, clip.input(1)) == 0.0 &&
           Scalar(graph, clip.input(2)) == 6.0;
  }

  Model& model_;
  WeightArena& arena_;
  UniqueNames names_;
  GraphIndex index_;
  // Nodes that the round has changed already: the index no longer tells the truth about them.
  absl::flat_hash_set<const onnx::NodeProto*> touched_, dead_;
  int folded_ = 0;
  int swishes_ = 0;
};

}  // namespace

absl::StatusOr<AffineFolding> FoldAffine(Model& model, WeightArena& arena,
                                         const JobContext& context) {
  AffineFolding counts;
  for (int round = 0; round < kMaxRounds; ++round) {
    MP_RETURN_IF_ERROR(context.cancellation->Check());
    MP_ASSIGN_OR_RETURN(const int changed, Folder(model, arena).Run(&counts));
    if (changed == 0) break;
  }
  return counts;
}

}  // namespace modelpress
