// Models of the newest opsets taken back to older ones.
#include "core/quant/opset_relabel.h"

#include "core/base/status.h"
#include "core/model/graph.h"
#include "core/quant/opset_conversion.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;

TEST(OpsetRelabel, SameGraphUnderAnotherNumber) {
  Model model = testing::ModelFromText(R"(<ir_version: 10, opset_import: ["" : 21]>
      g (float[2, 6] x) => (float[3, 4] y) <int64[2] shape = {3, 4}> {
        h = Relu (x)
        y = Reshape (h, shape) })");
  ASSERT_TRUE(ConvertDefaultDomain(model, 18).ok());
  EXPECT_EQ(model.opset(), 18);
  EXPECT_EQ(model.proto().graph().node_size(), 2);
}

TEST(OpsetRelabel, WhatChangedBeforeIsConverted) {
  Model model = testing::ModelFromText(R"(<ir_version: 10, opset_import: ["" : 21]>
      g (float[2, 6] x) => (float[2] y) <int64[1] axes = {1}, int64[2] shape = {2, 6}> {
        h = Reshape (x, shape)
        y = ReduceMean <keepdims = 0> (h, axes) })");
  // As readers store them: bytes, which libonnx's adapters do not look at.
  for (onnx::TensorProto& tensor : *model.mutable_proto().mutable_graph()->mutable_initializer()) {
    if (tensor.int64_data_size() == 0) continue;
    tensor.set_raw_data(tensor.int64_data().data(), tensor.int64_data_size() * sizeof(int64_t));
    tensor.clear_int64_data();
  }
  const absl::Status status = ConvertDefaultDomain(model, 17);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(model.opset(), 17);
  const onnx::NodeProto& reduce = model.proto().graph().node(1);
  EXPECT_EQ(reduce.input_size(), 1);
  const onnx::AttributeProto* axes = FindAttribute(reduce, "axes");
  ASSERT_NE(axes, nullptr);
  EXPECT_THAT(axes->ints(), ::testing::ElementsAre(1));
}

struct RefusedCase {
  const char* named;
  const char* text;
};

TEST(OpsetRelabel, RefusesWhatCameLater) {
  const RefusedCase cases[] = {
      {"Gelu", R"(g (float[2] x) => (float[2] y) { y = Gelu (x) })"},
      {"DequantizeLinear",
       R"(g (int16[2] x) => (float[2] y) <float scale = {0.5}, int16 zero = {0}> {
            y = DequantizeLinear (x, scale, zero) })"},
      {"Pad", R"(g (float[2] x) => (float[4] y) <int64[2] pads = {1, 1}> {
            y = Pad <mode = "wrap"> (x, pads) })"},
  };
  for (const RefusedCase& test : cases) {
    Model model = testing::ModelFromText(
        std::string(R"(<ir_version: 10, opset_import: ["" : 21]> )") + test.text);
    const absl::Status status = RelabelOpset(model, 18);
    EXPECT_EQ(ReasonOf(status), ERROR_REASON_OPSET_UNSUPPORTED) << test.named;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.named));
    EXPECT_EQ(model.opset(), 21);
  }
}

}  // namespace
}  // namespace modelpress
