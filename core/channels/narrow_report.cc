// Rows and notes: see narrow_report.h.
#include "core/channels/narrow_report.h"

#include <algorithm>
#include <map>

#include "core/base/format_string.h"
#include "core/measure/comparison.h"
#include "core/model/graph.h"

namespace modelpress {

v1::Skip GroupSkip(const Dependencies& dependencies, const DependencyGroup& group,
                   SkipReason reason, std::string_view detail) {
  const ChannelLayer& layer = dependencies.layers[group.producers[0]];
  return MakeSkip(reason, layer.weight, layer.node, detail);
}

void AddSubgraphSkips(const Model& model, std::vector<v1::Skip>* skips) {
  static constexpr std::string_view kLayers[] = {"Conv", "ConvTranspose", "Gemm", "MatMul"};
  ForEachGraph(model.proto(), [&](const onnx::GraphProto& graph, int depth) {
    if (depth == 0) return;
    for (const onnx::NodeProto& node : graph.node()) {
      if (!IsDefaultDomain(node.domain()) || node.input_size() < 2 ||
          std::ranges::find(kLayers, node.op_type()) == std::end(kLayers)) {
        continue;
      }
      skips->push_back(MakeSkip(SkipReason::kNotFollowed, node.input(1), NodeName(node),
                                "its channels stay: it is inside a subgraph"));
    }
  });
}

std::vector<v1::Change> LayerChanges(const Dependencies& dependencies, const KeptPositions& kept,
                                     const ModelRefit* refit) {
  std::vector<v1::Change> changes;
  std::map<std::string, const LayerRefit*> refits;
  if (refit != nullptr) {
    for (const LayerRefit& layer : refit->layers) refits[layer.output] = &layer;
  }
  for (const ChannelLayer& layer : dependencies.layers) {
    if (layer.weight.empty()) continue;
    const std::vector<int64_t>* dims = dependencies.shapes.Find(layer.weight);
    const auto extent = [&](int axis, bool after) -> uint64_t {
      if (axis < 0 || dims == nullptr) return 0;
      const auto left = kept.find({layer.weight, axis});
      return after && left != kept.end() ? left->second.size()
                                         : static_cast<uint64_t>((*dims)[axis]);
    };
    const auto found = refits.find(layer.output);
    const bool fitted = found != refits.end() && found->second->kept != LayerRefit::Kept::kCut;
    // Groups of a convolution lie on the rows of its weight.
    const bool grouped = layer.output_axis < 0 && layer.input_axis < 0;
    const int out = grouped ? 0 : layer.output_axis;
    const bool fewer_outputs = extent(out, true) != extent(out, false);
    const bool fewer_inputs = extent(layer.input_axis, true) != extent(layer.input_axis, false);
    if (!fewer_outputs && !fewer_inputs && !fitted) continue;
    v1::Change& change = changes.emplace_back();
    change.set_tensor(layer.weight);
    change.set_node(layer.node);
    v1::ChannelCut& channels = *change.mutable_channels();
    channels.set_inputs_before(extent(layer.input_axis, false));
    channels.set_inputs_after(extent(layer.input_axis, true));
    channels.set_outputs_before(extent(out, false));
    channels.set_outputs_after(extent(out, true));
    channels.set_macs_before(dependencies.Macs(layer, {}));
    channels.set_macs_after(dependencies.Macs(layer, kept));
    std::string what = fewer_outputs || fewer_inputs ? "" : "no channel went";
    if (fewer_outputs) {
      what = FormatString("outputs {} to {}", extent(out, false), extent(out, true));
    }
    if (fewer_inputs) {
      what += FormatString("{}inputs {} to {}", what.empty() ? "" : ", ",
                           extent(layer.input_axis, false), extent(layer.input_axis, true));
    }
    if (found != refits.end()) {
      const LayerRefit& row = *found->second;
      static constexpr std::string_view kHow[] = {"better as cut", "bias corrected", "refitted",
                                                  "new statistics"};
      what += FormatString(", {}", kHow[static_cast<int>(row.kept)]);
      change.set_output_sqnr_db(SqnrDb(row.signal, row.noise));
      change.set_plain_output_sqnr_db(SqnrDb(row.signal, row.cut_noise));
    }
    change.set_what(what);
  }
  return changes;
}

std::string Describe(const ModelRefit& refit) {
  int counts[4] = {};
  for (const LayerRefit& layer : refit.layers) ++counts[static_cast<int>(layer.kept)];
  std::string text = FormatString(
      "{} layers refitted, {} only in their bias, {} with new statistics, {} better as cut",
      counts[2], counts[1], counts[3], counts[0]);
  if (!refit.left.empty()) {
    text += FormatString("; {} could not be refitted ('{}': {})", refit.left.size(),
                         refit.left[0].first, refit.left[0].second);
  }
  return text;
}

}  // namespace modelpress
