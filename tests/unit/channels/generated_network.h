// Random convolutional networks for properties of channel removal.
#pragma once

#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/runtime/session.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/run_once.h"

namespace modelpress::testing {

inline Tensor RandomFloatTensor(std::mt19937& random, std::vector<int64_t> dims) {
  std::span<std::byte> bytes;
  auto tensor = Tensor::Make(DataType::kFloat, std::move(dims), &bytes);
  EXPECT_TRUE(tensor.ok());
  std::normal_distribution<float> normal;
  auto* values = reinterpret_cast<float*>(bytes.data());
  for (size_t i = 0; i < bytes.size() / sizeof(float); ++i) values[i] = normal(random);
  return *std::move(tensor);
}

// A model of ONNX text in which float constants are declared without values: small normal numbers.
inline Model FilledModel(std::string_view text) {
  onnx::ModelProto proto = ParseProto(text);
  std::set<std::string> made;
  for (const onnx::NodeProto& node : proto.graph().node()) {
    made.insert(node.output().begin(), node.output().end());
  }
  google::protobuf::RepeatedPtrField<onnx::ValueInfoProto> values;
  values.Swap(proto.mutable_graph()->mutable_value_info());
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 0.3f);
  for (const onnx::ValueInfoProto& value : values) {
    if (made.contains(value.name())) continue;
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name(value.name());
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    int64_t count = 1;
    for (const auto& dim : value.type().tensor_type().shape().dim()) {
      tensor.add_dims(dim.dim_value());
      count *= dim.dim_value();
    }
    for (int64_t i = 0; i < count; ++i) tensor.add_float_data(normal(random));
  }
  auto model = ReadModel(proto);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

// x [1, 2, 6, 6] -> y [1, 3]: `blocks` random blocks of convolutions, norms, residuals, gates,
// splits and joints, then pooling and two dense layers.
class NetworkMaker {
 public:
  explicit NetworkMaker(unsigned seed) : random_(seed) {}

  Model Make(int blocks) {
    proto_ = ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
        g (float[1, 2, 6, 6] x) => (float[1, 3] y) { y = Identity(x) })");
    proto_.mutable_graph()->clear_node();
    value_ = "x";
    channels_ = 2;
    Conv(6, 1, 1);
    for (int i = 0; i < blocks; ++i) Block();
    value_ = Node("GlobalAveragePool", {value_});
    value_ = Node("Flatten", {value_});
    Dense(7);
    value_ = Node("Relu", {value_});
    Dense(3);
    proto_.mutable_graph()->mutable_node()->rbegin()->set_output(0, "y");
    auto model = ReadModel(proto_);
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }

 private:
  int Pick(int count) { return static_cast<int>(random_() % static_cast<unsigned>(count)); }

  std::string Weight(const std::vector<int64_t>& dims, float shift = 0, float scale = 0.4f) {
    onnx::TensorProto& tensor = *proto_.mutable_graph()->add_initializer();
    tensor.set_name("w" + std::to_string(++count_));
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    size_t elements = 1;
    for (const int64_t extent : dims) {
      tensor.add_dims(extent);
      elements *= static_cast<size_t>(extent);
    }
    std::normal_distribution<float> normal(shift, scale);
    std::vector<float> values(elements);
    for (float& value : values) value = normal(random_);
    tensor.set_raw_data(values.data(), values.size() * sizeof(float));
    return tensor.name();
  }

  std::string Node(const std::string& op, const std::vector<std::string>& inputs, int outputs = 1) {
    onnx::NodeProto& node = *proto_.mutable_graph()->add_node();
    node.set_op_type(op);
    node.set_name(op + std::to_string(++count_));
    for (const std::string& input : inputs) node.add_input(input);
    for (int i = 0; i < outputs; ++i) node.add_output("v" + std::to_string(++count_));
    return node.output(0);
  }

  void SetInt(const std::string& name, int64_t value) {
    onnx::AttributeProto& attribute =
        *proto_.mutable_graph()->mutable_node()->rbegin()->add_attribute();
    attribute.set_name(name);
    attribute.set_type(onnx::AttributeProto::INT);
    attribute.set_i(value);
  }

  void Conv(int64_t outputs, int64_t kernel, int64_t groups) {
    const std::string w = Weight({outputs, channels_ / groups, kernel, kernel});
    value_ = Node("Conv", {value_, w, Weight({outputs})});
    SetInt("group", groups);
    if (kernel == 3) {
      onnx::AttributeProto& pads =
          *proto_.mutable_graph()->mutable_node()->rbegin()->add_attribute();
      pads.set_name("pads");
      pads.set_type(onnx::AttributeProto::INTS);
      for (int i = 0; i < 4; ++i) pads.add_ints(1);
    }
    channels_ = outputs;
  }

  void Dense(int64_t outputs) {
    const bool transposed = Pick(2) == 0;
    const int64_t inputs = channels_;
    const std::string w = transposed ? Weight({outputs, inputs}) : Weight({inputs, outputs});
    if (!transposed && Pick(2) == 0) {
      value_ = Node("MatMul", {value_, w});
      value_ = Node("Add", {value_, Weight({outputs})});
    } else {
      value_ = Node("Gemm", {value_, w, Weight({outputs})});
      SetInt("transB", transposed);
    }
    channels_ = outputs;
  }

  void Block() {
    const std::string start = value_;
    const int64_t channels = channels_;
    switch (Pick(7)) {
      case 0:
        Conv(4 + 2 * Pick(3), 3, 1);
        value_ = Node("Relu", {value_});
        break;
      case 1:
        Conv(channels_, 3, channels_);
        value_ = Node("Sigmoid", {value_});
        break;
      case 2:
        value_ = Node("BatchNormalization", {value_, Weight({channels_}, 1), Weight({channels_}),
                                             Weight({channels_}), Weight({channels_}, 3, 0.1f)});
        break;
      case 3:  // residual
        Conv(5, 1, 1);
        value_ = Node("Relu", {value_});
        Conv(channels, 3, 1);
        value_ = Node("Add", {value_, start});
        break;
      case 4: {  // two ways joined
        Conv(3, 1, 1);
        const std::string left = value_;
        value_ = start;
        channels_ = channels;
        Conv(5, 3, 1);
        value_ = Node("Concat", {left, value_});
        SetInt("axis", 1);
        channels_ = 8;
        break;
      }
      case 5:  // gate
        value_ = Node("GlobalAveragePool", {value_});
        Conv(channels, 1, 1);
        value_ = Node("HardSigmoid", {value_});
        value_ = Node("Mul", {start, value_});
        break;
      case 6: {  // two halves, one computed on, then a convolution in two groups
        value_ = Node("Split", {value_}, 2);
        SetInt("axis", 1);
        const std::string other = proto_.graph().node().rbegin()->output(1);
        value_ = Node("Tanh", {value_});
        value_ = Node("Concat", {other, value_});
        SetInt("axis", 1);
        Conv(channels, 1, 2);
        break;
      }
    }
  }

  std::mt19937 random_;
  onnx::ModelProto proto_;
  std::string value_;
  int64_t channels_ = 0;
  int count_ = 0;
};

}  // namespace modelpress::testing
