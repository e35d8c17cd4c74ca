// One inference with taps; see observe_shapes.h.
#include "core/channels/observe_shapes.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "core/model/graph.h"
#include "core/runtime/session.h"

namespace modelpress {

ObservedShapes ObserveShapes(Model& model, const Samples* samples) {
  std::unique_ptr<Samples> synthetic;
  if (samples == nullptr) {
    auto made = MakeSyntheticSamples(model, 1, /*seed=*/0);
    if (!made.ok()) return {};
    synthetic = *std::move(made);
    samples = synthetic.get();
  }
  if (samples->batches() == 0) return {};
  std::set<std::string> values;
  for (const onnx::NodeProto& node : model.proto().graph().node()) {
    static constexpr std::string_view kOps[] = {"Conv", "ConvTranspose", "Gemm", "MatMul",
                                                "LSTM", "GRU",           "RNN"};
    if (!IsDefaultDomain(node.domain()) ||
        std::ranges::find(kOps, node.op_type()) == std::end(kOps) || node.output_size() == 0) {
      continue;
    }
    for (const std::string& value : {node.output(0), node.input(0)}) {
      if (!value.empty()) values.insert(value);
    }
  }
  const GraphIndex index(model.mutable_proto());
  SessionOptions options{.threads = 1};
  std::vector<std::string> tapped;
  for (const std::string& value : values) {
    if (index.Producer(model.proto().graph(), value) == nullptr ||
        index.Constant(model.proto().graph(), value) != nullptr) {
      continue;
    }
    tapped.push_back(value);
    options.taps.push_back({"", value});
  }
  ObservedShapes shapes;
  options.observer = [&](size_t tap, const Tensor& value) { shapes[tapped[tap]] = value.dims; };
  const auto session = Session::Create(model, options);
  const auto batch = samples->Read(0);
  if (!session.ok() || !batch.ok()) return {};
  for (const auto& [name, tensor] : batch->inputs) shapes[name] = tensor.dims;
  if (!(*session)->Run(batch->inputs).ok()) return {};
  // Where samples lie on axis 0, all values have them there.
  for (auto& [name, dims] : shapes) {
    const bool fed =
        !dims.empty() && batch->samples > 1 && dims[0] % static_cast<int64_t>(batch->samples) == 0;
    if (fed) dims[0] /= static_cast<int64_t>(batch->samples);
  }
  return shapes;
}

}  // namespace modelpress
