// A TensorFlow Lite model as typed graphs: what reader.h makes of the file and ops/ translate.
//
// Everything here has been checked: indices are in range, sizes of constants fit their shapes, every tensor is made once.
// Names, options and quantization refer into the mapped file, which SourceModel keeps.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/mapped_file.h"
#include "core/formats/tflite/schema_generated.h"
#include "core/model/model.h"

namespace modelpress::tflite {

namespace schema = tflite_schema;
using schema::BuiltinOperator;
using schema::TensorType;

// real = scale * (code - zero_point), for the whole tensor or for each index of `axis`.
struct Quantization {
  std::vector<float> scale;
  std::vector<int64_t> zero_point;  // as many as scales, or one
  int axis = 0;
  // Blocks of codes along the last axis with a scale each: the scales are a tensor of the subgraph. 0: no blocks.
  int64_t block_size = 0;
  int scales_tensor = -1;
  int zero_points_tensor = -1;

  bool per_axis() const { return scale.size() > 1; }
};

struct SourceTensor {
  std::string_view name;
  TensorType type = TensorType::FLOAT32;
  // -1: free. Meaningless without has_shape.
  std::vector<int64_t> shape;
  bool has_shape = false;
  // Keeps its content from one inference to the next (state of recurrent operators); starts as zeros.
  bool is_variable = false;
  // A constant; sparse ones hold their non-zero values only.
  bool constant = false;
  WeightRef data;
  const schema::SparsityParameters* sparsity = nullptr;
  std::optional<Quantization> quantization;

  bool is_static() const;
};

struct SourceOperator {
  BuiltinOperator code = BuiltinOperator::CUSTOM;
  std::string_view custom;  // name of a custom operator
  int version = 1;
  std::vector<int> inputs;  // -1: absent
  std::vector<int> outputs;
  std::vector<int> intermediates;
  const schema::Operator* table = nullptr;
  std::span<const std::byte> custom_options;

  // "CONV_2D", or a custom operator's name.
  std::string name() const;
};

struct SourceGraph {
  std::string_view name;
  std::vector<SourceTensor> tensors;
  std::vector<SourceOperator> operators;
  std::vector<int> inputs;
  std::vector<int> outputs;
};

struct Signature {
  struct Entry {
    std::string_view name;
    int tensor = -1;
  };
  std::string_view key;
  int graph = 0;
  std::vector<Entry> inputs;
  std::vector<Entry> outputs;
};

struct SourceModel {
  std::shared_ptr<const MappedFile> file;
  std::string_view description;
  std::vector<SourceGraph> graphs;  // the first is the model
  std::vector<Signature> signatures;
  std::vector<std::string_view> metadata;  // names of what is attached
};

// The ONNX type with the same elements; kUndefined for complex, resource and other types that ONNX tensors cannot hold.
DataType ToOnnxType(TensorType type);

}  // namespace modelpress::tflite
