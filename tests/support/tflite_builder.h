// Small TensorFlow Lite files for tests, written with the schema of the reader.
//
//   TfliteBuilder tflite;
//   const int x = tflite.Input("x", TensorType::FLOAT32, {1, 4});
//   const int y = tflite.Output("y", TensorType::FLOAT32, {1, 4});
//   tflite.Add(BuiltinOperator::RELU, {x}, {y});
//   const std::string bytes = tflite.Bytes();
#pragma once

#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/formats/tflite/schema_generated.h"

namespace modelpress::testing {

namespace schema = tflite_schema;
using schema::BuiltinOperator;
using schema::TensorType;

class TfliteBuilder {
 public:
  using Offset = flatbuffers::Offset<void>;
  using FlatBuilder = flatbuffers::FlatBufferBuilder;
  // Writes an operator's options: their type and table.
  using Options = std::function<std::pair<schema::BuiltinOptions, Offset>(FlatBuilder&)>;

  struct Scales {
    std::vector<float> scale;
    std::vector<int64_t> zero_point;
    int axis = 0;
  };
  struct TensorSpec {
    std::string name;
    TensorType type = TensorType::FLOAT32;
    std::vector<int32_t> shape;
    std::vector<uint8_t> data;
    std::optional<Scales> scales;
    std::vector<int32_t> shape_signature;
    bool is_variable = false;
    // Written as it is in place of the buffer that holds `data`.
    std::optional<uint32_t> buffer;
    // Offset and size of the data in the file, in place of a vector.
    std::optional<std::pair<uint64_t, uint64_t>> place;
    std::function<flatbuffers::Offset<schema::SparsityParameters>(FlatBuilder&)> sparsity;
  };
  struct OperatorSpec {
    BuiltinOperator code = BuiltinOperator::ADD;
    std::string custom;
    std::vector<int32_t> inputs, outputs;
    Options options;
    std::optional<uint32_t> opcode_index;
    std::vector<uint8_t> custom_options;
  };
  struct GraphSpec {
    std::vector<TensorSpec> tensors;
    std::vector<OperatorSpec> operators;
    std::vector<int32_t> inputs, outputs;
  };

  // Of the graph that is worked on: the first, or the one that NewGraph began last.
  int Tensor(TensorSpec tensor);
  int Tensor(std::string name, TensorType type, std::vector<int32_t> shape);
  int Input(std::string name, TensorType type, std::vector<int32_t> shape);
  int Output(std::string name, TensorType type, std::vector<int32_t> shape);
  template <typename T>
  int Constant(std::string name, TensorType type, std::vector<int32_t> shape,
               const std::vector<T>& values) {
    TensorSpec tensor{.name = std::move(name), .type = type, .shape = std::move(shape)};
    tensor.data.resize(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(tensor.data.data(), values.data(), tensor.data.size());
    return Tensor(std::move(tensor));
  }
  int Ints(std::string name, std::vector<int32_t> shape, const std::vector<int32_t>& values) {
    return Constant(std::move(name), TensorType::INT32, std::move(shape), values);
  }
  int Floats(std::string name, std::vector<int32_t> shape, const std::vector<float>& values) {
    return Constant(std::move(name), TensorType::FLOAT32, std::move(shape), values);
  }
  void Quantize(int tensor, Scales scales) { graph().tensors[tensor].scales = std::move(scales); }
  void Add(BuiltinOperator code, std::vector<int32_t> inputs, std::vector<int32_t> outputs,
           Options options = nullptr);
  void AddCustom(std::string name, std::vector<int32_t> inputs, std::vector<int32_t> outputs,
                 std::vector<uint8_t> options = {});
  // Begins another graph; returns its number.
  int NewGraph();
  GraphSpec& graph() { return graphs_.back(); }

  // Anything else of the file that a test wants wrong.
  uint32_t version = 3;
  bool old_operator_codes = false;  // only the field of the first files

  std::string Bytes() const;

 private:
  std::vector<GraphSpec> graphs_ = {GraphSpec()};
};

// Options whose table is made by Create<Name>Options(builder, arguments...).
template <typename Table, typename Make>
TfliteBuilder::Options WithOptions(schema::BuiltinOptions type, Make make) {
  return [type, make](TfliteBuilder::FlatBuilder& builder) {
    const flatbuffers::Offset<Table> table = make(builder);
    return std::pair(type, table.Union());
  };
}

}  // namespace modelpress::testing
