// Choosing values to follow: see own_hints.h.
#include "core/training/own_hints.h"

#include <algorithm>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "core/model/graph.h"
#include "core/training/seen_model.h"

namespace modelpress {
namespace {

constexpr size_t kMostHints = 6;
// A hint trains a map of channels to channels.
constexpr int64_t kMostChannels = 512;

constexpr std::string_view kLayers[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
// What keeps the meaning of a layer's output: works number by number, or sums up neighbours.
constexpr std::string_view kFollowing[] = {
    "Add",       "Sub",       "Mul",         "BatchNormalization",
    "Relu",      "PRelu",     "Clip",        "Elu",
    "LeakyRelu", "HardSwish", "Sigmoid",     "HardSigmoid",
    "Selu",      "Gelu",      "BiasGelu",    "FastGelu",
    "Tanh",      "Mish",      "Softplus",    "Identity",
    "Dropout",   "MaxPool",   "AveragePool", "GlobalAveragePool",
    "ReduceMean"};

// Where what a layer made is read by more than one node, or by something else.
std::string LastFollowing(const onnx::GraphProto& graph, const GraphIndex& index,
                          std::string value) {
  for (int steps = 0; steps < graph.node_size(); ++steps) {
    const std::vector<Use>& uses = index.Uses(graph, value);
    if (uses.size() != 1 || uses[0].graph != &graph || index.IsGraphOutput(graph, value)) break;
    const onnx::NodeProto& reader = *uses[0].node;
    if (!std::ranges::contains(kFollowing, reader.op_type())) break;
    value = reader.output(0);
  }
  return value;
}

// What the targets are computed from, without them.
absl::flat_hash_set<std::string> Needed(const onnx::GraphProto& graph, const TrainingData& data) {
  absl::flat_hash_set<std::string> needed;
  for (const PackedTarget& target : data.targets) needed.insert(target.output);
  for (int i = graph.node_size() - 1; i >= 0; --i) {
    const onnx::NodeProto& node = graph.node(i);
    const bool counts = std::ranges::any_of(
        node.output(), [&](const std::string& name) { return needed.contains(name); });
    if (counts) needed.insert(node.input().begin(), node.input().end());
  }
  // Those are trained by anyway.
  for (const PackedTarget& target : data.targets) needed.erase(target.output);
  return needed;
}

std::vector<std::string> Candidates(const Model& teacher, const Model& model,
                                    const TrainingData& data) {
  Model clone = teacher.Clone();
  const GraphIndex index(clone.mutable_proto());
  const onnx::GraphProto& graph = clone.proto().graph();
  absl::flat_hash_set<std::string> ours;
  for (const onnx::NodeProto& node : model.proto().graph().node()) {
    ours.insert(node.output().begin(), node.output().end());
  }
  const absl::flat_hash_set<std::string> needed = Needed(model.proto().graph(), data);
  std::vector<std::string> values;
  for (const onnx::NodeProto& node : graph.node()) {
    if (!std::ranges::contains(kLayers, node.op_type()) || node.input_size() < 2 ||
        index.Constant(graph, node.input(1)) == nullptr) {
      continue;
    }
    std::string value = LastFollowing(graph, index, node.output(0));
    if (index.IsGraphOutput(graph, value) || !ours.contains(value) || !needed.contains(value)) {
      continue;
    }
    if (!std::ranges::contains(values, value)) values.push_back(std::move(value));
  }
  return values;
}

struct Candidate {
  std::string value;
  // Of all training samples.
  uint64_t bytes = 0;
};

// `count` of them, evenly, with the last one.
std::vector<Candidate> Spread(const std::vector<Candidate>& all, size_t count) {
  std::vector<Candidate> chosen;
  for (size_t i = count; i-- > 0;) chosen.push_back(all[all.size() - 1 - i * all.size() / count]);
  return chosen;
}

}  // namespace

std::vector<FeatureHint> OwnHints(const Model& teacher, const Model& model,
                                  const TrainingData& data, const JobContext& context) {
  const std::vector<std::string> values = Candidates(teacher, model, data);
  if (values.empty()) return {};
  SeenModel theirs(teacher, "teacher"), ours(model, "student");
  const TensorMap one = FeedOf(data, 0, 1);
  for (SeenModel* seen : {&theirs, &ours}) {
    if (!seen->Load(values, context).ok() || !seen->Run(one).ok()) return {};
  }
  std::vector<Candidate> fitting;
  for (size_t i = 0; i < values.size(); ++i) {
    const auto &a = theirs.Seen(i), &b = ours.Seen(i);
    if (!a.has_value() || !b.has_value() || a->type != DataType::kFloat || b->type != a->type ||
        a->dims != b->dims || a->dims.size() < 2 || (!data.exact && a->dims[0] != 1) ||
        a->bytes.empty() || a->dims[a->dims.size() > 3 ? 1 : a->dims.size() - 1] > kMostChannels ||
        a->bytes.size() > kOwnHintsBytes / data.training) {
      continue;
    }
    fitting.push_back({values[i], a->bytes.size() * data.training});
  }
  for (size_t count = std::min(kMostHints, fitting.size()); count > 0; --count) {
    const std::vector<Candidate> chosen = Spread(fitting, count);
    uint64_t bytes = 0;
    for (const Candidate& candidate : chosen) bytes += candidate.bytes;
    if (bytes > kOwnHintsBytes) continue;
    std::vector<FeatureHint> hints(count);
    for (size_t i = 0; i < count; ++i) hints[i].set_teacher(chosen[i].value);
    return hints;
  }
  return {};
}

}  // namespace modelpress
