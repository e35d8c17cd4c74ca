// Counting parameters, zeros and bytes, quantized or not.
#include "core/measure/sizes.h"

#include <gtest/gtest.h>

#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using testing::ModelFromText;
using testing::TestJob;

struct Expected {
  const char* text;
  uint64_t parameters, nonzero, nodes;
};

TEST(SummariseTest, LiteralModels) {
  const Expected cases[] = {
      // Floats: zeros of both signs are zeros; the shape of Reshape is no parameter.
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[N, 2] x) => (float[1, M] y)
          <float[2, 3] w = {1.0, 0.0, -0.0, 2.0, 3.0, 4.0}, int64[2] s = {1, -1}>
          { a = MatMul(x, w)
            y = Reshape(a, s) })",
       6, 4, 2},
      // Codes with a zero point: as many parameters as the floats had; scale and zero point are
      // none.
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[N, 2] x) => (float[N, 2] y)
          <uint8[2, 2] q = {7, 8, 0, 7}, float s = {0.5}, uint8 z = {7}>
          { w = DequantizeLinear(q, s, z)
            y = MatMul(x, w) })",
       4, 2, 2},
      // Zero points that differ along axis 1.
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[N, 2] x) => (float[N, 2] y)
          <uint8[2, 2] q = {7, 8, 0, 7}, float[2] s = {0.5, 0.25}, uint8[2] z = {7, 8}>
          { w = DequantizeLinear <axis = 1> (q, s, z)
            y = MatMul(x, w) })",
       4, 2, 2},
      // Along axis 0.
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[N, 2] x) => (float[N, 2] y)
          <uint8[2, 2] q = {7, 8, 0, 7}, float[2] s = {0.5, 0.25}, uint8[2] z = {7, 0}>
          { w = DequantizeLinear <axis = 0> (q, s, z)
            y = MatMul(x, w) })",
       4, 2, 2},
      // An embedding: codes are gathered, then dequantized.
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (int64[N] i) => (float[N, 2] y)
          <int8[3, 2] q = {1, 0, 2, 0, 3, -1}, float s = {0.5}>
          { c = Gather(q, i)
            y = DequantizeLinear(c, s) })",
       6, 4, 2},
      // The same with a scale for each row, which needs Cast and Mul.
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (int64[N] i) => (float[N, 2] y)
          <int8[3, 2] q = {1, 0, 2, 0, 3, -1}, float[3, 1] s = {0.5, 1.0, 2.0}>
          { c = Gather(q, i)
            r = Gather(s, i)
            f = Cast <to = 1> (c)
            y = Mul(f, r) })",
       6, 4, 4},
      // Scales that meet the one of an activation first.
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (float[2, 2] x) => (float[2, 3] y)
          <int8[2, 3] q = {1, 0, 2, 0, 3, -1}, float[3] s = {0.5, 1.0, 2.0}>
          { c, a, z = DynamicQuantizeLinear(x)
            i = MatMulInteger(c, q, z)
            f = Cast <to = 1> (i)
            m = Mul(a, s)
            y = Mul(f, m) })",
       6, 4, 5},
      // Constants of nodes and subgraphs count too; integers that nothing dequantizes do not.
      {R"(<ir_version: 8, opset_import: ["" : 17]>
          g (bool b, float[2] x) => (float[2] y)
          <int64[2] n = {3, 4}>
          { f = Constant <value: tensor = float[2] {0.0, 5.0}> ()
            k = Cast <to = 1> (n)
            y = If (b) <then_branch = t () => (float[2] u) { c = Constant <value: tensor = float[2] {1.0, 2.0}> ()
                                                             u = Add(x, c) },
                        else_branch = e () => (float[2] v) { v = Add(k, f) }> })",
       4, 3, 6},
  };
  for (const Expected& c : cases) {
    const Model model = ModelFromText(c.text);
    for (const size_t threads : {1, 3}) {
      TestJob job(threads);
      const auto summary = Summarise(model, true, job.context());
      ASSERT_TRUE(summary.ok()) << summary.status();
      SCOPED_TRACE(std::string(c.text) + summary->ShortDebugString());
      EXPECT_EQ(summary->parameters(), c.parameters);
      EXPECT_EQ(summary->nonzero_parameters(), c.nonzero);
      EXPECT_EQ(summary->nodes(), c.nodes);
      EXPECT_EQ(summary->opset(), 17u);
      EXPECT_EQ(Summarise(model, false, job.context())->nonzero_parameters(), 0u);
    }
  }
}

TEST(SummariseTest, DescribesInputsAndOutputs) {
  TestJob job;
  const ModelSummary summary = Summarise(ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
                                 g (float[N, 3] x) => (float[N, 3] y) { y = Relu(x) })"),
                                         true, job.context())
                                   .value();
  ASSERT_EQ(summary.inputs_size(), 1);
  EXPECT_EQ(summary.inputs(0).name(), "x");
  EXPECT_EQ(summary.inputs(0).dtype(), "float32");
  ASSERT_EQ(summary.inputs(0).shape_size(), 2);
  EXPECT_EQ(summary.inputs(0).shape(0), "N");
  EXPECT_EQ(summary.inputs(0).shape(1), "3");
  EXPECT_EQ(summary.outputs(0).name(), "y");
}

}  // namespace
}  // namespace modelpress
