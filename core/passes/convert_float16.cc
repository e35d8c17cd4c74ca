// convert_float16: a float32 graph to float16.
//
//   x float --> Conv (W float) --> Relu --> y float
//   x float --> Cast --> Conv (W float16) --> Relu --> Cast --> y float          (keep_io_types)
//
// Weights are rounded half to even to IEEE 754 binary16; finite values above 65504 become +-65504
// and those other than 0 below 2^-24 become +-2^-24, counted for each tensor. BatchNormalization is
// folded first: its variances often do not fit float16 (one of 9.8e7 in a text detector gave -7
// dB). Which nodes stay float32 by their operator is in half_graph.h. Beside them, by value: nodes
// that read or make a number above a limit on calibration samples, since beyond 65504 there is only
// infinity (the rule of NVIDIA's AutoCast, with a limit that keeps range and not habit). The result
// is loaded at once; an operator for which the runtime turns out to have no float16 kernel goes
// back to float32, until it loads.
//
// The artifact is half the size. On CPUs the runtime computes most of it in float32 with casts in
// between: it is not faster there.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/model/value_key.h"
#include "core/passes/pass.h"
#include "core/quant/batch_norm_folding.h"
#include "core/quant/function_inlining.h"
#include "core/quant/half_graph.h"
#include "core/quant/progress.h"
#include "core/quant/value_types.h"
#include "core/quant/weight_selection.h"
#include "core/runtime/session.h"
#include "core/statistics/calibration_samples.h"
#include "core/statistics/statistics.h"

namespace modelpress {
namespace {

// Measured on one core; only for plans.
constexpr double kBytesPerSecond = 5e8;
// Half of the largest float16: other data may show larger numbers.
constexpr double kDefaultMaxActivation = 32752;
constexpr uint64_t kMaxSamples = 64, kSyntheticSamples = 8;
// Values that are infinite by design (attention masks) are left out one by one.
constexpr int kMaxNotFinite = 64;
// Operators that may go back to float32 before giving up.
constexpr int kMaxLoads = 32;

class ConvertFloat16Pass final : public Pass {
 public:
  std::string_view name() const override { return "convert_float16"; }
  std::string_view summary() const override {
    return "float32 graph to float16, BatchNormalization folded first: half the size";
  }
  bool encodes_weights() const override { return true; }
  absl::Status Validate(const PassStep& step) const override {
    const ConvertFloat16& options = step.convert_float16();
    for (const auto* list : {&options.exclude_op_types(), &options.exclude_nodes()}) {
      const std::string_view field =
          list == &options.exclude_nodes() ? "exclude_nodes" : "exclude_op_types";
      if (std::ranges::none_of(*list, [](const std::string& entry) { return entry.empty(); })) {
        continue;
      }
      const std::string path = FormatString("convert_float16.{}", field);
      return Error(ERROR_REASON_RECIPE_INVALID, path + " has an empty entry").With("field", path);
    }
    if (options.has_max_activation() && !(options.max_activation() > 0)) {
      return Error(ERROR_REASON_RECIPE_INVALID,
                   FormatString("convert_float16.max_activation is {}, must be above 0",
                                options.max_activation()))
          .With("field", "convert_float16.max_activation");
    }
    return absl::OkStatus();
  }
  PassEstimate Estimate(const Model& model, const PassStep&) const override {
    const uint64_t bytes = WeightBytes(model);
    // Folded weights are written as floats first.
    return {128 << 20, bytes + bytes / 2 + (1 << 20),
            1 + static_cast<double>(bytes) / kBytesPerSecond};
  }
  absl::Status Apply(Model& model, const PassStep& step, PassContext& context,
                     PassReport& report) const override;
  std::vector<PassExample> examples() const override;
  std::vector<std::vector<PassStep>> tuning_candidates() const override {
    PassStep step;
    step.mutable_convert_float16();
    return {{step}};
  }
};

// A node by its place, which is the same in every clone: graph in the order of ForEachGraph, node.
using Place = std::pair<int, int>;

// Values that exceeded the limit, and the nodes that touch them.
struct LargeValues {
  std::map<std::string, double> largest;
  std::set<Place> nodes;
};

// Statistics of every float value that a node makes; empty where the model cannot be run.
absl::StatusOr<Statistics> Observe(Model& model, const GraphIndex& index, PassContext& context,
                                   PassReport* report) {
  const ValueTypes types(model.mutable_proto(), index);
  std::vector<StatisticRequest> requests;
  ForEachNamedGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, const std::string& path) {
    for (const onnx::NodeProto& node : graph.node()) {
      for (const std::string& output : node.output()) {
        if (output.empty() || IsConstantNode(node)) continue;
        if (types.Find(graph, output) == DataType::kFloat) {
          requests.push_back({.key = {path, output}});
        }
      }
    }
  });
  auto samples = OpenCalibrationSamples(model, context.data, kMaxSamples, kSyntheticSamples,
                                        context.seed, *context.job);
  absl::Status failure = samples.status();
  for (int i = 0; failure.ok() && i < kMaxNotFinite; ++i) {
    auto statistics = GatherStatistics(model, **samples, requests, *context.job, nullptr);
    if (statistics.ok()) return statistics;
    failure = statistics.status();
    if (ReasonOf(failure) != ERROR_REASON_DATA_NOT_FINITE) break;
    // float16 has infinity too.
    const ErrorDetail detail = DetailOf(failure);
    const auto named = detail.metadata().find("tensor");
    if (named == detail.metadata().end()) break;
    const size_t removed = std::erase_if(
        requests, [&](const auto& request) { return request.key.value == named->second; });
    if (removed > 0) failure = absl::OkStatus();
  }
  if (ReasonOf(failure) == ERROR_REASON_JOB_CANCELLED) return failure;
  if (context.data != nullptr && !samples.ok()) return failure;
  *report->add_notes() = FormatString(
      "activations were not observed, so that none of them kept a node in float32 ({})",
      failure.ok() ? "too many values are not finite" : std::string(failure.message()));
  return Statistics();
}

absl::StatusOr<LargeValues> FindLargeValues(Model& model, double limit, PassContext& context,
                                            PassReport* report) {
  LargeValues large;
  const GraphIndex index(model.mutable_proto());
  MP_ASSIGN_OR_RETURN(const Statistics statistics, Observe(model, index, context, report));
  const GraphPaths paths(model.mutable_proto());
  int graph_place = 0;
  ForEachGraph(model.mutable_proto(), [&](onnx::GraphProto& graph, int) {
    for (int i = 0; i < graph.node_size(); ++i) {
      const onnx::NodeProto& node = graph.node(i);
      for (const auto* list : {&node.input(), &node.output()}) {
        for (const std::string& name : *list) {
          const auto key = paths.KeyOf(index, graph, name);
          const ValueStatistics* seen = key.has_value() ? statistics.Find(*key) : nullptr;
          if (seen == nullptr) continue;
          const double largest = std::max(std::abs(seen->min), std::abs(seen->max));
          if (largest <= limit) continue;
          large.largest[name] = std::max(large.largest[name], largest);
          large.nodes.insert({graph_place, i});
        }
      }
    }
    ++graph_place;
  });
  return large;
}

absl::Status ConvertFloat16Pass::Apply(Model& model, const PassStep& step, PassContext& context,
                                       PassReport& report) const {
  const ConvertFloat16& options = step.convert_float16();
  InlineFunctions(model, report.mutable_notes());
  MP_ASSIGN_OR_RETURN(const BatchNormFolding folding,
                      FoldBatchNorms(model, *context.arena, *context.job));
  if (!folding.changes.empty()) {
    *report.add_notes() =
        FormatString("{} BatchNormalization nodes were folded first", folding.changes.size());
  }
  const double limit =
      options.has_max_activation() ? options.max_activation() : kDefaultMaxActivation;
  MP_ASSIGN_OR_RETURN(const LargeValues large, FindLargeValues(model, limit, context, &report));
  for (const auto& [value, largest] : large.largest) {
    *report.add_skips() = MakeSkip(
        SkipReason::kOutOfRange, value, "",
        FormatString(
            "reaches {:.4g} on calibration samples, max_activation is {:.6g}: what makes and "
            "reads it stays in float32",
            largest, limit));
  }

  // The original may need what the runtime does not have; then its artifact does too.
  const bool loads = Session::Create(model, {.optimize = false}).ok();
  std::set<std::string> no_kernel;
  Model candidate;
  HalfGraph converted;
  for (int attempt = 0;; ++attempt) {
    candidate = model.Clone();
    std::set<const onnx::NodeProto*> kept;
    int graph_place = 0;
    ForEachGraph(candidate.mutable_proto(), [&](onnx::GraphProto& graph, int) {
      for (int i = 0; i < graph.node_size(); ++i) {
        if (large.nodes.contains({graph_place, i})) kept.insert(&graph.node(i));
      }
      ++graph_place;
    });
    HalfOptions half;
    half.keep_io_types = !options.has_keep_io_types() || options.keep_io_types();
    half.keep_float = [&](const onnx::NodeProto& node) {
      const auto& ops = options.exclude_op_types();
      return kept.contains(&node) || no_kernel.contains(node.op_type()) ||
             std::ranges::find(ops, node.op_type()) != ops.end() ||
             std::ranges::any_of(options.exclude_nodes(), [&](const std::string& glob) {
               return GlobMatches(glob, node.name());
             });
    };
    WeightProgress progress(context.progress, WeightBytes(candidate));
    MP_ASSIGN_OR_RETURN(converted, ConvertGraphToHalf(candidate, half, *context.arena, *context.job,
                                                      progress.callback()));
    RemoveDead(candidate.mutable_proto());
    if (!loads) break;
    const absl::Status loaded = Session::Create(candidate, {.optimize = false}).status();
    if (loaded.ok()) break;
    const ErrorDetail detail = DetailOf(loaded);
    const auto op = detail.metadata().find("op");
    if (ReasonOf(loaded) != ERROR_REASON_OP_UNSUPPORTED || op == detail.metadata().end() ||
        !no_kernel.insert(op->second).second || attempt >= kMaxLoads) {
      return loaded;
    }
  }
  model = std::move(candidate);
  for (const std::string& op : no_kernel) {
    *report.add_notes() =
        FormatString("{} stays in float32: the runtime has no float16 kernel for it", op);
  }
  for (Change& change : converted.changes) *report.add_changes() = std::move(change);
  for (Skip& skip : converted.skips) *report.add_skips() = std::move(skip);
  std::string left;
  for (const auto& [op, count] : converted.float_operators) {
    left += FormatString("{}{} x {}", left.empty() ? "" : ", ", count, op);
  }
  if (!left.empty()) *report.add_notes() = "stayed in float32: " + left;
  *report.add_notes() = FormatString("{} Casts were added", converted.casts);
  return absl::OkStatus();
}

std::vector<PassExample> ConvertFloat16Pass::examples() const {
  return {
      {"inputs and outputs keep their type",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}>
          { h = MatMul(x, w)
            y = Relu(h) })",
       "convert_float16: {}",
       {"Cast", "MatMul", "Relu", "Cast"},
       0.02},
      {"a node that was excluded computes in float32, between Casts",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}>
          { h = MatMul(x, w)
            s = Softmax(h)
            y = Add(s, h) })",
       "convert_float16: {exclude_op_types: [Softmax]}",
       {"Cast", "MatMul", "Cast", "Softmax", "Cast", "Add", "Cast"},
       0.02},
      {"numbers that float16 does not hold stay in float32",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (float[2, 4] x) => (float[2, 2] y)
          <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}, float[1] large = {1000000},
           float[1] small = {0.000001}>
          { h = MatMul(x, w)
            m = Mul(h, large)
            n = Mul(m, small)
            y = Relu(n) })",
       "convert_float16: {}",
       {"Cast", "MatMul", "Cast", "Mul", "Mul", "Cast", "Relu", "Cast"},
       0.02},
      {"the branches of an If change too",
       R"(<ir_version: 8, opset_import: ["" : 13]>
          g (bool c, float[2] x) => (float[2] y)
          <float[2] w = {1.5, -0.5}>
          { y = If (c) <
              then_branch = t () => (float[2] a) { a = Mul(x, w) },
              else_branch = e () => (float[2] b) { b = Add(x, w) }> })",
       "convert_float16: {}",
       {"If", "Cast"},
       0.01},
  };
}

}  // namespace

void RegisterPass_convert_float16(PassRegistry& registry) {
  registry.Add(std::make_unique<ConvertFloat16Pass>());
}

}  // namespace modelpress
