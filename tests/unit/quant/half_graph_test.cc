// What a graph's outputs are called and typed after it went to float16.
#include "core/quant/half_graph.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

TEST(HalfGraph, ConstantsThatAreOutputsKeepTheirNames) {
  Model model = testing::ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[2, 4] x) => (float[2, 2] y, float[2] c)
    <float[4, 2] w = {1, -0.5, 0.25, 2, -3, 0.1, 0.7, -0.9}, float[2] c = {1, 2}> {
      m = MatMul (x, w)
      y = Add (m, c)
    })");
  testing::TestJob job;
  WeightArena arena(job.context().scratch);
  HalfOptions options;
  options.keep_io_types = false;
  const auto half = ConvertGraphToHalf(model, options, arena, job.context(), ByteProgress());
  ASSERT_TRUE(half.ok()) << half.status();
  const onnx::GraphProto& graph = model.proto().graph();
  ASSERT_EQ(graph.output_size(), 2);
  EXPECT_EQ(graph.output(0).name(), "y");
  EXPECT_EQ(graph.output(1).name(), "c");
  EXPECT_EQ(graph.output(1).type().tensor_type().elem_type(), onnx::TensorProto::FLOAT16);
  // The constant stays as it is, and is cast into the output.
  int makers = 0;
  for (const onnx::NodeProto& node : graph.node()) {
    if (node.output(0) != "c") continue;
    ++makers;
    EXPECT_EQ(node.op_type(), "Cast");
    const onnx::TensorProto* constant = testing::FindInitializer(model, node.input(0));
    ASSERT_NE(constant, nullptr);
    EXPECT_EQ(Type(*constant), DataType::kFloat);
  }
  EXPECT_EQ(makers, 1);
}

}  // namespace
}  // namespace modelpress
