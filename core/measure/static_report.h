// What quantize_static says about each layer.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/measure/static_quantizer.h"
#include "core/runtime/profile.h"

namespace modelpress::v1 {
class PassReport;
}

namespace modelpress {

// "minmax", "percentile 99.999", "entropy", "mse".
std::string NameOf(const RangeRule& rule);

// What was found out about layers beside the quantizer's own facts; empty vectors where it was not.
struct StaticFindings {
  std::vector<LayerForm> forms;
  // Each layer's own relative error on float inputs, negative where not measured.
  std::vector<double> own;
  // The noise that it alone adds to the model's outputs.
  std::vector<double> noise;
};

// A change for each layer in integers and for its bias, a skip for each that is not (and a change for
// its weight where that is stored in codes); the share of multiply-accumulates in integer kernels of
// the runtime's optimized graph.
void ReportStaticLayers(const StaticQuantizer& quantizer, const StaticQuantization& options,
                        const StaticFindings& findings, const OptimizedGraph& optimized,
                        v1::PassReport* report);

}  // namespace modelpress
