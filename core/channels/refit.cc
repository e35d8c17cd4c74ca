// Layer after layer onto the dense model's outputs; see refit.h.
#include "core/channels/refit.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "core/base/format_string.h"
#include "core/base/status.h"
#include "core/channels/gather_rows.h"
#include "core/channels/layer_numbers.h"
#include "core/channels/refit_site.h"

namespace modelpress {
namespace {

// Ridges that are tried, against the mean of the diagonal. The moments are sums of float32
// products.
constexpr double kDampings[] = {1e-6, 1e-4, 1e-3, 1e-2, 1e-1};

class Refitter {
 public:
  Refitter(const Model& dense, Model& narrow, const Dependencies& dependencies,
           const KeptPositions& kept, const Samples& samples, WeightArena& arena,
           const JobContext& context, const NarrowProgress& progress)
      : dense_(dense),
        narrow_(narrow),
        dependencies_(dependencies),
        kept_(kept),
        samples_(samples),
        context_(context),
        progress_(progress),
        numbers_(narrow, arena) {}

  absl::StatusOr<ModelRefit> Run() {
    {
      const GraphIndex index(narrow_.mutable_proto());
      FindLayers(index);
    }
    int levels = 0;
    for (const Layer& layer : layers_) levels = std::max(levels, layer.level + 1);
    for (int level = 0; level < levels; ++level) {
      std::vector<Layer*> together;
      for (Layer& layer : layers_) {
        if (layer.level == level) together.push_back(&layer);
      }
      if (progress_) {
        progress_(static_cast<double>(level) / levels,
                  together.empty() ? "" : NodeName(*together[0]->site.node));
      }
      std::vector<RowRequest*> requests;
      for (Layer* layer : together) requests.push_back(&layer->rows);
      MP_RETURN_IF_ERROR(GatherRows(narrow_, dense_, samples_, requests, context_));
      for (Layer* layer : together) MP_RETURN_IF_ERROR(Fit(*layer));
    }
    RemoveDead(narrow_.mutable_proto());
    return std::move(result_);
  }

 private:
  struct Layer {
    RefitSite site;
    std::string output;
    int level = 0;
    RowRequest rows;
  };

  // Whether the node's sums run over positions that are gone.
  bool SumsOverCut(const onnx::NodeProto& node) const {
    const auto cut = [&](const std::string& value, int axis) {
      return kept_.contains({value, axis});
    };
    if (node.op_type() == "LayerNormalization") {
      const auto found = kept_.lower_bound({node.input(0), 0});
      return found != kept_.end() && found->first.first == node.input(0);
    }
    for (const ChannelLayer& layer : dependencies_.layers) {
      if (layer.output != node.output(0) || layer.value_axis < 0) continue;
      if (IntAttribute(node, "group", 1) == 1 && cut(layer.value, layer.value_axis)) return true;
    }
    return false;
  }

  void FindLayers(const GraphIndex& index) {
    absl::flat_hash_map<std::string, int> levels;
    int highest = 0;
    bool any = false;
    for (onnx::NodeProto& node : *narrow_.mutable_proto().mutable_graph()->mutable_node()) {
      if (node.output_size() == 0) continue;
      int level = 0;
      bool affected = SumsOverCut(node);
      for (const std::string& input : node.input()) {
        if (const auto found = levels.find(input); found != levels.end()) {
          level = std::max(level, found->second);
          affected = true;
        }
      }
      const bool subgraph = std::ranges::any_of(node.attribute(), [](const auto& attribute) {
        return attribute.has_g() || attribute.graphs_size() > 0;
      });
      if (subgraph && any) level = highest, affected = true;
      if (!affected) continue;
      std::string why;
      auto site = FindRefitSite(narrow_, index, dependencies_.shapes, kept_, node, &why);
      if (site.has_value()) {
        Layer& layer = layers_.emplace_back();
        layer.site = *std::move(site);
        layer.output = node.output(0);
        layer.level = level++;
        layer.rows = {.rows = layer.site.rows, .x = layer.site.x, .y = layer.output};
      } else if (!why.empty()) {
        result_.left.emplace_back(NodeName(node), why);
      }
      for (const std::string& output : node.output()) levels[output] = level;
      highest = std::max(highest, level);
      any = true;
    }
  }

  // A way to refit a layer.
  struct Method {
    LayerRefit::Kept kind = LayerRefit::Kept::kCut;
    double damping = 0;
  };

  std::vector<Method> MethodsFor(const Layer& layer) const {
    std::vector<Method> methods;
    if (layer.site.bias_node != nullptr) methods.push_back({LayerRefit::Kept::kBias});
    for (const double damping : kDampings) methods.push_back({LayerRefit::Kept::kRidge, damping});
    if (layer.site.has_statistics) methods.push_back({LayerRefit::Kept::kStatistics});
    return methods;
  }

  // The maps of all groups, made from these moments.
  absl::StatusOr<std::vector<LinearFit>> Candidate(const Method& method, const Layer& layer,
                                                   const std::vector<LinearFit>& start,
                                                   const std::vector<RowMoments>& fit) {
    if (method.kind == LayerRefit::Kept::kStatistics) {
      MP_ASSIGN_OR_RETURN(auto statistics, numbers_.NewStatistics(layer.site, fit));
      return std::move(statistics.fits);
    }
    std::vector<LinearFit> candidate;
    for (size_t g = 0; g < start.size(); ++g) {
      if (method.kind == LayerRefit::Kept::kBias) {
        candidate.push_back(LayerNumbers::SharedBias(layer.site, WithBestBias(start[g], fit[g])));
        continue;
      }
      const bool with_bias = layer.site.bias_node != nullptr;
      MP_ASSIGN_OR_RETURN(auto solved,
                          SolveRidge(fit[g], start[g], method.damping, with_bias, context_));
      candidate.push_back(
          solved.has_value() ? LayerNumbers::SharedBias(layer.site, *std::move(solved)) : start[g]);
    }
    return candidate;
  }

  absl::Status Fit(Layer& layer) {
    MP_RETURN_IF_ERROR(context_.cancellation->Check());
    LayerRefit row{.node = NodeName(*layer.site.node), .output = layer.output};
    if (!layer.rows.problem.empty()) {
      result_.left.emplace_back(row.node, layer.rows.problem);
      return absl::OkStatus();
    }
    MP_ASSIGN_OR_RETURN(const std::vector<LinearFit> start, numbers_.Present(layer.site));
    const FitMoments moments(layer.rows);
    layer.rows.parts.clear();
    const std::vector<Method> methods = MethodsFor(layer);
    std::vector<double> noise(methods.size());
    for (size_t trial = 0; trial < moments.trials(); ++trial) {
      const std::vector<RowMoments> fit = moments.ForTrial(trial);
      const std::vector<RowMoments>& judge = moments.Judge(trial);
      const double share = moments.Share(trial);
      for (const RowMoments& group : judge) row.signal += share * group.Signal();
      MP_ASSIGN_OR_RETURN(const double cut, Noise(start, judge));
      row.cut_noise += share * cut;
      for (size_t m = 0; m < methods.size(); ++m) {
        MP_ASSIGN_OR_RETURN(const auto candidate, Candidate(methods[m], layer, start, fit));
        MP_ASSIGN_OR_RETURN(const double found, Noise(candidate, judge));
        noise[m] += share * found;
      }
    }
    row.noise = row.cut_noise;
    Method best;
    for (size_t m = 0; m < methods.size(); ++m) {
      if (!(noise[m] < row.noise)) continue;
      row.noise = noise[m];
      best = methods[m];
    }
    row.kept = best.kind;
    row.damping = best.damping;
    result_.layers.push_back(row);
    if (best.kind == LayerRefit::Kept::kCut) return absl::OkStatus();
    const std::vector<RowMoments> all = moments.ForGood();
    if (best.kind == LayerRefit::Kept::kStatistics) {
      MP_ASSIGN_OR_RETURN(const auto statistics, numbers_.NewStatistics(layer.site, all));
      return numbers_.WriteStatistics(layer.site, statistics);
    }
    MP_ASSIGN_OR_RETURN(const auto fits, Candidate(best, layer, start, all));
    return numbers_.Write(layer.site, fits);
  }

  absl::StatusOr<double> Noise(const std::vector<LinearFit>& fits,
                               const std::vector<RowMoments>& moments) const {
    double noise = 0;
    for (size_t g = 0; g < fits.size(); ++g) {
      MP_ASSIGN_OR_RETURN(const double of_group, NoiseOf(fits[g], moments[g], context_));
      noise += of_group;
    }
    return noise;
  }

  const Model& dense_;
  Model& narrow_;
  const Dependencies& dependencies_;
  const KeptPositions& kept_;
  const Samples& samples_;
  const JobContext& context_;
  const NarrowProgress& progress_;
  LayerNumbers numbers_;
  std::vector<Layer> layers_;
  ModelRefit result_;
};

}  // namespace

absl::StatusOr<ModelRefit> RefitModel(const Model& dense, Model& narrow,
                                      const Dependencies& dependencies, const KeptPositions& kept,
                                      const Samples& samples, WeightArena& arena,
                                      const JobContext& context, const NarrowProgress& progress) {
  return Refitter(dense, narrow, dependencies, kept, samples, arena, context, progress).Run();
}

}  // namespace modelpress
