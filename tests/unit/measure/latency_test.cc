// Interleaved latency on a model whose artifact does more work.
#include "core/measure/latency.h"

#include <gtest/gtest.h>

#include "core/base/status.h"
#include "tests/support/model_builder.h"
#include "tests/unit/measure/tensors.h"

namespace modelpress {
namespace {

TEST(CompareLatencyTest, RunsInTurnsAndSeesTheSlowerOne) {
  const auto fast =
      Session::Create(testing::ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[N, N] x) => (float[N, N] y) { y = Relu(x) })"),
                      {.threads = 1})
          .value();
  const auto slow =
      Session::Create(testing::ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[N, N] x) => (float[N, N] y) { a = MatMul(x, x)
                                             y = MatMul(a, x) })"),
                      {.threads = 1})
          .value();
  const TensorMap inputs = {{"x", testing::Floats({200, 200}, std::vector<float>(40000, 0.5f))}};
  Cancellation cancellation;
  const Latency latency =
      CompareLatency(*fast, *slow, inputs, inputs, 1, 9, 60, cancellation).value();
  EXPECT_EQ(latency.runs(), 9u);
  EXPECT_EQ(latency.threads(), 1u);
  EXPECT_GT(latency.original_median_seconds(), 0);
  EXPECT_GT(latency.artifact_median_seconds(), latency.original_median_seconds());
  EXPECT_GE(latency.artifact_spread_seconds(), 0);
  EXPECT_EQ(CompareLatency(*fast, *slow, inputs, inputs, 1, 100, 0, cancellation)->runs(), 5u);
  cancellation.Cancel();
  EXPECT_EQ(ReasonOf(CompareLatency(*fast, *slow, inputs, inputs, 1, 9, 1, cancellation).status()),
            ERROR_REASON_JOB_CANCELLED);
}

}  // namespace
}  // namespace modelpress
