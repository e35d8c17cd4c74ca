// Values whose channels may be scaled together without changing what a model computes.
//
// Multiplying channel c of a value by t_c, the weights that make it (output channel c) by t_c and
// the weights that read it (input channel c) by 1 / t_c keeps the function, through everything that
// commutes with a positive factor: Relu, pooling, means over space, sums. Values that meet in an
// Add, as those of a residual stream do, form one group. A depthwise convolution reads one group
// and makes another. (Nagel et al. 2019, "Data-free quantization through weight equalization and
// bias correction", section 4.1; Meller et al. 2019 for sums and depthwise layers.)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/model/graph.h"
#include "core/model/model.h"
#include "core/quant/quantize_tensor.h"

namespace modelpress {

// A weight as rows, columns and what lies within: element (r, c, i). One of rows and columns are
// output channels; in a grouped convolution the others are numbered over all groups:
//   Conv [O, C / g, kernel]           rows: output c; columns: input (r / (O / g)) * C / g + c
//   ConvTranspose [C, O / g, kernel]  the other way round
//   MatMul, Gemm                      one group, inner 1
struct ChannelGrid {
  uint64_t rows = 1, columns = 1, inner = 1, groups = 1;
  bool rows_are_outputs = true;

  uint64_t ColumnChannel(uint64_t row, uint64_t column) const {
    return row / (rows / groups) * columns + column;
  }
};

// One constant of a layer and the groups whose factors it takes: `output` multiplies, `input`
// divides; -1: none.
struct ScaledWeight {
  onnx::TensorProto* tensor = nullptr;
  std::string name, node;
  ChannelGrid grid;
  int output = -1, input = -1;
  // The value it is multiplied with, and the axis of its channels, counted from the end.
  onnx::GraphProto* graph = nullptr;
  std::string value;
  int64_t axis = -1;
};

// A constant that is added to a value and multiplied as it is; its channels lie on one axis.
struct ScaledBias {
  onnx::TensorProto* tensor = nullptr;
  std::string name, node;
  ChannelLayout layout;
  int output = -1;
};

// A Clip from 0 to `high`, which commutes with a factor only where it never cuts.
struct CrossedClip {
  onnx::GraphProto* graph = nullptr;
  onnx::NodeProto* node = nullptr;
  float high = 0;
  int64_t axis = -1;  // of the channels, counted from the end
};

struct ChannelGroup {
  // The first value, for reports, and how many there are.
  std::string name;
  uint64_t values = 0;
  uint64_t channels = 0;
  std::vector<CrossedClip> clips;
};

struct ChannelGroups {
  std::vector<ChannelGroup> groups;
  std::vector<ScaledWeight> weights;
  std::vector<ScaledBias> biases;
  // Values made by a layer that nothing may scale, and the node that stands against it.
  struct Fixed {
    std::string value, node, reason;
  };
  std::vector<Fixed> fixed;
};

// Groups that at least one weight makes and one reads. Pointers are into `model`, as those of
// `index`. `cross_clips`: whether Clips from 0 are passed (they are listed), else they end a group.
// O(nodes).
ChannelGroups FindChannelGroups(Model& model, const GraphIndex& index, bool cross_clips);

}  // namespace modelpress
