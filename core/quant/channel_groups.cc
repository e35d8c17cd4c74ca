// Values whose channels may be scaled together; see channel_groups.h.
#include "core/quant/channel_groups.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>

#include "core/base/format_string.h"
#include "core/quant/channel_sets.h"

namespace modelpress {
namespace {

bool Among(std::string_view value, std::initializer_list<std::string_view> list) {
  return std::ranges::find(list, value) != list.end();
}

class Finder {
 public:
  Finder(Model& model, const GraphIndex& index, bool cross_clips)
      : model_(model), index_(index), cross_clips_(cross_clips) {}

  ChannelGroups Find() {
    ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int depth) {
      for (const auto& input : graph.input()) {
        sets_.Fix(Value(graph, input.name()),
                  depth == 0 ? "an input of the model" : "a subgraph's input", "");
      }
    });
    ForEachGraph(model_.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      graph_ = &graph;
      for (onnx::NodeProto& node : *graph.mutable_node()) {
        if (!IsConstantNode(node)) Visit(node);
      }
      for (const auto& output : graph.output()) {
        sets_.Fix(Value(graph, output.name()), "an output of its graph", "");
      }
    });
    return Collect();
  }

 private:
  using Key = std::pair<const onnx::GraphProto*, std::string>;

  int Value(const onnx::GraphProto& scope, const std::string& name) {
    return sets_.Of(index_.DefiningGraph(scope, name), name);
  }
  int Value(const std::string& name) { return Value(*graph_, name); }

  void Fix(const onnx::NodeProto& node, std::string_view reason) {
    for (const auto* list : {&node.input(), &node.output()}) {
      for (const std::string& name : *list) {
        if (!name.empty() && Tensor(name) == nullptr) {
          sets_.Fix(Value(name), reason, NodeName(node));
        }
      }
    }
  }

  int Join(int a, int b, const onnx::NodeProto& node) { return sets_.Join(a, b, NodeName(node)); }

  onnx::TensorProto* Tensor(const std::string& name) const {
    return name.empty() ? nullptr : index_.Constant(*graph_, name);
  }

  // Whether a constant may be changed for this one reading.
  bool IsOurs(const std::string& name) const {
    onnx::TensorProto* tensor = Tensor(name);
    return tensor != nullptr && static_cast<DataType>(tensor->data_type()) == DataType::kFloat &&
           index_.Uses(*graph_, name).size() == 1 && !index_.IsGraphOutput(*graph_, name);
  }

  void Visit(onnx::NodeProto& node) {
    const std::string& op = node.op_type();
    if (!IsDefaultDomain(node.domain())) return Fix(node, "an operator of another domain");
    if (Among(op, {"Shape", "Size"})) return;  // reads no numbers
    if (Among(op, {"Conv", "ConvTranspose", "Gemm", "MatMul"})) return VisitLinear(node);
    if (Among(op, {"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool",
                   "GlobalMaxPool", "Identity", "Dropout", "Resize", "Upsample", "PRelu"})) {
      return Pass(node);
    }
    if (op == "Pad") return VisitPad(node);
    if (op == "Clip") return VisitClip(node);
    if (op == "Add" || op == "Sub") return VisitAdd(node);
    if (op == "Mul" || op == "Div") return VisitMul(node);
    if (Among(op, {"ReduceMean", "ReduceSum", "ReduceMax"})) return VisitReduce(node);
    if (op == "Flatten" || op == "Reshape" || op == "Squeeze") return VisitFlatten(node);
    Fix(node, FormatString("{} does not commute with a factor for each channel", op));
  }

  // The first input and the first output are scaled alike; other inputs do not matter.
  void Pass(onnx::NodeProto& node) {
    if (node.input_size() == 0 || node.output_size() == 0) return;
    for (int i = 1; i < node.input_size(); ++i) {
      if (!node.input(i).empty() && Tensor(node.input(i)) == nullptr) {
        sets_.Fix(Value(node.input(i)), "a parameter that is computed", NodeName(node));
      }
    }
    if (Tensor(node.input(0)) != nullptr) return Fix(node, "made of a constant");
    if (FloatAttribute(node, "extrapolation_value", 0) != 0)
      return Fix(node, "fills with a number");
    Join(Value(node.input(0)), Value(node.output(0)), node);
    if (node.op_type().starts_with("Global")) global_.insert(Key(graph_, node.output(0)));
  }

  void VisitPad(onnx::NodeProto& node) {
    const auto* mode = FindAttribute(node, "mode");
    const bool constant = mode == nullptr || mode->s() == "constant";
    const bool value =
        FloatAttribute(node, "value", 0) != 0 ||
        (node.input_size() > 2 && !node.input(2).empty() && Scalar(node.input(2)) != 0);
    if (constant && value) return Fix(node, "pads with a number other than 0");
    // Padding of the channels themselves would show as channels of two kinds.
    Pass(node);
  }

  std::optional<float> Scalar(const std::string& name) const {
    const onnx::TensorProto* tensor = Tensor(name);
    if (tensor == nullptr || static_cast<DataType>(tensor->data_type()) != DataType::kFloat) {
      return std::nullopt;
    }
    const auto bytes = model_.Bytes(*tensor);
    if (!bytes.ok() || bytes->size() != sizeof(float)) return std::nullopt;
    float value;
    std::memcpy(&value, bytes->data(), sizeof(value));
    return value;
  }

  void VisitClip(onnx::NodeProto& node) {
    std::optional<float> low, high;
    const auto* low_attribute = FindAttribute(node, "min");
    const auto* high_attribute = FindAttribute(node, "max");
    if (low_attribute != nullptr) low = low_attribute->f();
    if (high_attribute != nullptr) high = high_attribute->f();
    for (int i = 1; i < std::min(node.input_size(), 3); ++i) {
      if (node.input(i).empty()) continue;
      const auto value = Scalar(node.input(i));
      if (!value.has_value()) return Fix(node, "a Clip whose bounds are not constants");
      (i == 1 ? low : high) = value;
    }
    if (low.has_value() && *low != 0) return Fix(node, "a Clip that does not begin at 0");
    if (!low.has_value() && high.has_value()) return Fix(node, "a Clip without a lower bound");
    if (high.has_value() && *high < std::numeric_limits<float>::max()) {
      if (!cross_clips_ || *high <= 0) return Fix(node, "a Clip with an upper bound");
      clips_.push_back({{graph_, &node, *high, 0}, Value(node.input(0))});
    }
    Join(Value(node.input(0)), Value(node.output(0)), node);
  }

  void VisitAdd(onnx::NodeProto& node) {
    const bool first = Tensor(node.input(0)) != nullptr;
    const bool second = Tensor(node.input(1)) != nullptr;
    if (first && second) return Fix(node, "made of constants");
    if (!first && !second) {
      Join(Join(Value(node.input(0)), Value(node.input(1)), node), Value(node.output(0)), node);
      return;
    }
    const std::string& constant = node.input(first ? 0 : 1);
    const int set = Join(Value(node.input(first ? 1 : 0)), Value(node.output(0)), node);
    pending_biases_.push_back({&node, graph_, constant, set});
  }

  void VisitMul(onnx::NodeProto& node) {
    const bool first = Tensor(node.input(0)) != nullptr;
    const bool second = Tensor(node.input(1)) != nullptr;
    if (first && second) return Fix(node, "made of constants");
    if (second || (first && node.op_type() == "Mul")) {
      Join(Value(node.input(first ? 1 : 0)), Value(node.output(0)), node);
      return;
    }
    // A gate multiplies a value that may be scaled; it is not scaled itself.
    for (const int gate : {1, 0}) {
      const onnx::NodeProto* producer = index_.Producer(*graph_, node.input(gate));
      if (node.op_type() == "Mul" && producer != nullptr &&
          Among(producer->op_type(), {"Sigmoid", "HardSigmoid"}) &&
          node.input(0) != node.input(1)) {
        sets_.Fix(Value(node.input(gate)), "a gate", NodeName(node));
        Join(Value(node.input(1 - gate)), Value(node.output(0)), node);
        return;
      }
    }
    Fix(node, "a product of two values");
  }

  std::optional<std::vector<int64_t>> Axes(const onnx::NodeProto& node) const {
    std::vector<int64_t> axes;
    if (const auto* attribute = FindAttribute(node, "axes")) {
      axes.assign(attribute->ints().begin(), attribute->ints().end());
      return axes;
    }
    if (node.input_size() < 2 || node.input(1).empty()) return std::nullopt;
    const onnx::TensorProto* tensor = Tensor(node.input(1));
    if (tensor == nullptr || static_cast<DataType>(tensor->data_type()) != DataType::kInt64) {
      return std::nullopt;
    }
    const auto bytes = model_.Bytes(*tensor);
    if (!bytes.ok()) return std::nullopt;
    axes.resize(bytes->size() / sizeof(int64_t));
    std::memcpy(axes.data(), bytes->data(), axes.size() * sizeof(int64_t));
    return axes;
  }

  // Over all axes behind the channels, which is what a mean over space is.
  void VisitReduce(onnx::NodeProto& node) {
    const int in = Value(node.input(0));
    const ChannelSet set = sets_[in];
    const auto axes = Axes(node);
    if (!axes.has_value() || set.rank == 0 || set.axis == 0) {
      return Fix(node, "a reduction over axes that are not known");
    }
    std::vector<int64_t> from_end;
    for (const int64_t axis : *axes) from_end.push_back(axis < 0 ? axis : axis - set.rank);
    std::ranges::sort(from_end);
    const bool space = from_end.size() == static_cast<size_t>(-set.axis - 1) &&
                       (from_end.empty() || from_end.front() == set.axis + 1);
    if (!space) return Fix(node, "a reduction over channels or samples");
    if (IntAttribute(node, "keepdims", 1) != 0) {
      Join(in, Value(node.output(0)), node);
      global_.insert(Key(graph_, node.output(0)));
      return;
    }
    Bridge(node, in, set.rank + static_cast<int>(set.axis) + 1);
  }

  // [N, C, 1, 1] to [N, C].
  void VisitFlatten(onnx::NodeProto& node) {
    const int in = Value(node.input(0));
    const ChannelSet set = sets_[in];
    if (!global_.contains(Key(graph_, node.input(0))) || set.rank + set.axis != 1) {
      return Fix(node, FormatString("{} rearranges channels", node.op_type()));
    }
    if (node.op_type() == "Flatten" && IntAttribute(node, "axis", 1) != 1) {
      return Fix(node, "Flatten rearranges channels");
    }
    if (node.op_type() == "Squeeze") {
      const auto axes = Axes(node);
      if (!axes.has_value() || axes->size() != static_cast<size_t>(set.rank - 2)) {
        return Fix(node, "Squeeze over axes that are not known");
      }
    }
    // A Reshape to anything but [N, C] gives a reader whose channels do not fit.
    Bridge(node, in, 2);
  }

  // The output has the same channels on its last axis; its set is joined through `bridges_`, since
  // one set has one axis.
  void Bridge(const onnx::NodeProto& node, int in, int rank) {
    const int out = Value(node.output(0));
    const ChannelSet from = sets_[in];
    sets_[out].axis = -1;
    sets_[out].rank = rank;
    if (from.channels != 0) sets_[out].channels = from.channels;
    bridges_.emplace_back(in, out, NodeName(node));
  }

  void VisitLinear(onnx::NodeProto& node) {
    const std::string& op = node.op_type();
    onnx::TensorProto* weight = node.input_size() > 1 ? Tensor(node.input(1)) : nullptr;
    if (weight == nullptr || Tensor(node.input(0)) != nullptr || !IsOurs(node.input(1))) {
      return Fix(node, "its weight is not a float32 constant of its own");
    }
    const auto dims = Dims(*weight);
    const bool conv = op.starts_with("Conv");
    const bool fits = conv ? dims.size() >= 3 : dims.size() == 2;
    if (!fits || std::ranges::any_of(dims, [](int64_t extent) { return extent <= 0; }) ||
        (op == "Gemm" && IntAttribute(node, "transA", 0) != 0)) {
      return Fix(node, "a form of the layer that is not handled");
    }
    ScaledWeight scaled{.tensor = weight, .name = node.input(1), .node = NodeName(node)};
    scaled.graph = graph_;
    scaled.value = node.input(0);
    ChannelGrid& grid = scaled.grid;
    grid.rows = dims[0];
    grid.columns = dims[1];
    for (size_t i = 2; i < dims.size(); ++i) grid.inner *= dims[i];
    const int64_t groups = conv ? IntAttribute(node, "group", 1) : 1;
    if (groups < 1 || dims[0] % groups != 0) return Fix(node, "groups that do not fit");
    grid.groups = groups;
    grid.rows_are_outputs = op == "Conv" || (op == "Gemm" && IntAttribute(node, "transB", 0) != 0);
    const uint64_t across = grid.columns * grid.groups;
    const uint64_t outputs = grid.rows_are_outputs ? grid.rows : across;
    const uint64_t inputs = grid.rows_are_outputs ? across : grid.rows;
    const int rank = conv ? static_cast<int>(dims.size()) : op == "Gemm" ? 2 : 0;
    const int64_t axis = conv ? 1 - rank : -1;
    scaled.axis = axis;
    const int in = Value(node.input(0)), out = Value(node.output(0));
    sets_.SetChannels(in, inputs, axis, rank, scaled.node);
    sets_.SetChannels(out, outputs, axis, rank, scaled.node);
    sets_[in].read = true;
    sets_[out].made = true;
    weights_.push_back({scaled, in, out});
    if (node.input_size() > 2 && !node.input(2).empty()) {
      pending_biases_.push_back({&node, graph_, node.input(2), out});
    }
  }

  // A bias must have its channels where the value has them.
  void TakeBiases() {
    for (const PendingBias& pending : pending_biases_) {
      graph_ = pending.graph;
      const int set = sets_.Root(pending.set);
      const bool conv = pending.node->op_type().starts_with("Conv");
      const onnx::TensorProto* tensor = Tensor(pending.name);
      if (tensor == nullptr || !IsOurs(pending.name) || sets_[set].axis == 0) {
        sets_.Fix(set, "a bias that is not a float32 constant of its own", NodeName(*pending.node));
        continue;
      }
      const auto dims = Dims(*tensor);
      const auto rank = static_cast<int64_t>(dims.size());
      const int64_t axis = conv ? rank - 1 : rank + sets_[set].axis;
      if (axis < 0 || axis >= rank || static_cast<uint64_t>(dims[axis]) != sets_[set].channels) {
        sets_.Fix(set, "adds one number to several channels", NodeName(*pending.node));
        continue;
      }
      ScaledBias bias{.tensor = index_.Constant(*graph_, pending.name),
                      .name = pending.name,
                      .node = NodeName(*pending.node),
                      .layout = LayoutOf(dims, static_cast<size_t>(axis))};
      biases_.push_back({bias, set});
    }
  }

  // Sets on both sides of a bridge become one from here on: axes no longer matter.
  void CloseBridges() {
    for (const auto& [from, to, node] : bridges_) {
      const int a = sets_.Root(from), b = sets_.Root(to);
      if (a == b) continue;
      const ChannelSet& x = sets_[a];
      ChannelSet& y = sets_[b];
      if (x.channels == 0 || x.channels != y.channels) {
        sets_.Fix(a, "channels are rearranged", node);
        sets_.Fix(b, "channels are rearranged", node);
        continue;
      }
      y.axis = x.axis;
      sets_.Join(a, b, node);
    }
  }

  ChannelGroups Collect() {
    TakeBiases();
    for (auto& [clip, set] : clips_) {
      clip.axis = sets_[set].axis;
      if (clip.axis == 0) {
        sets_.Fix(set, "a Clip whose channels are not known", NodeName(*clip.node));
      }
    }
    CloseBridges();
    ChannelGroups result;
    std::map<int, int> places;
    const auto place = [&](int set) {
      const auto found = places.find(sets_.Root(set));
      return found == places.end() ? -1 : found->second;
    };
    for (int i = 0; i < sets_.size(); ++i) {
      if (sets_.Root(i) != i || !sets_[i].made) continue;
      const ChannelSet& set = sets_[i];
      if (!set.reason.empty()) {
        result.fixed.push_back({set.name, set.stopper, set.reason});
        continue;
      }
      if (!set.read) continue;
      places[i] = static_cast<int>(result.groups.size());
      result.groups.push_back({set.name, set.values, set.channels, {}});
    }
    for (const auto& [clip, set] : clips_) {
      if (const int group = place(set); group >= 0) result.groups[group].clips.push_back(clip);
    }
    for (auto& [weight, in, out] : weights_) {
      weight.input = place(in);
      weight.output = place(out);
      if (weight.input >= 0 || weight.output >= 0) result.weights.push_back(weight);
    }
    for (auto& [bias, set] : biases_) {
      bias.output = place(set);
      if (bias.output >= 0) result.biases.push_back(bias);
    }
    return result;
  }

  struct PendingBias {
    onnx::NodeProto* node;
    onnx::GraphProto* graph;
    std::string name;
    int set;
  };
  struct FoundWeight {
    ScaledWeight weight;
    int in, out;
  };

  Model& model_;
  const GraphIndex& index_;
  bool cross_clips_;
  onnx::GraphProto* graph_ = nullptr;
  ChannelSets sets_;
  std::vector<FoundWeight> weights_;
  std::vector<std::pair<ScaledBias, int>> biases_;
  std::vector<PendingBias> pending_biases_;
  std::vector<std::pair<CrossedClip, int>> clips_;
  // Values whose extents behind the channels are all 1.
  std::set<Key> global_;
  std::vector<std::tuple<int, int, std::string>> bridges_;
};

}  // namespace

ChannelGroups FindChannelGroups(Model& model, const GraphIndex& index, bool cross_clips) {
  return Finder(model, index, cross_clips).Find();
}

}  // namespace modelpress
