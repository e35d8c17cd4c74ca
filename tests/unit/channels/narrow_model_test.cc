// Narrower models: targets, refits, what stays; on generated networks and samples.
#include "core/channels/narrow_model.h"

#include <cmath>
#include <cstring>

#include "core/channels/dependency_groups.h"
#include "core/measure/model_loss.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/channels/generated_network.h"

namespace modelpress {
namespace {

using ::testing::HasSubstr;
using testing::ModelFromText;
using testing::NetworkMaker;
using testing::TestJob;

// x [N, 8] -> 24 Relu -> 20 Relu -> 4, with neurons that are noisy mixtures of a few, as in trained
// networks.
Model Teacher() {
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  onnx::ModelProto proto = testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 8] x) => (float[N, 4] y)
      { a = Gemm <transB = 1> (x, w1, b1) r = Relu(a) b = MatMul(r, w2) c = Add(b, b2) s = Relu(c)
        y = Gemm <transB = 1> (s, w3, b3) })");
  const auto add = [&](const std::string& name, std::vector<int64_t> dims,
                       const std::vector<float>& values) {
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    for (const int64_t extent : dims) tensor.add_dims(extent);
    tensor.set_raw_data(values.data(), values.size() * sizeof(float));
  };
  const auto draw = [&](size_t count, float scale) {
    std::vector<float> values(count);
    for (float& value : values) value = scale * normal(random);
    return values;
  };
  // Every third neuron is like the one before it.
  std::vector<float> w1 = draw(24 * 8, 0.5f), b1 = draw(24, 0.1f);
  for (size_t n = 1; n < 24; ++n) {
    if (n % 3 == 0) continue;
    for (size_t k = 0; k < 8; ++k) w1[n * 8 + k] = w1[(n - 1) * 8 + k] + 0.03f * normal(random);
    b1[n] = b1[n - 1];
  }
  add("w1", {24, 8}, w1);
  add("b1", {24}, b1);
  add("w2", {24, 20}, draw(24 * 20, 0.3f));
  add("b2", {20}, draw(20, 0.1f));
  add("w3", {4, 20}, draw(4 * 20, 0.3f));
  add("b3", {4}, draw(4, 0.1f));
  return *testing::ReadModel(proto);
}

std::string Fingerprint(const Model& model) {
  std::string bytes = model.proto().SerializeAsString();
  ForEachTensor(model.proto(), [&](const onnx::TensorProto& tensor) {
    const auto found = model.Bytes(tensor);
    if (found.ok()) bytes.append(reinterpret_cast<const char*>(found->data()), found->size());
  });
  return bytes;
}

double Loss(const Model& dense, const Model& narrow, TestJob& job, WeightArena& arena) {
  const auto samples = MakeSyntheticSamples(dense, 50, /*seed=*/77);
  const auto meter = LossMeter::On(dense, **samples, arena, job.context());
  EXPECT_TRUE(meter.ok()) << meter.status();
  const auto loss = (*meter)->Measure(narrow);
  EXPECT_TRUE(loss.ok()) << loss.status();
  return loss.ok() ? loss->sqnr_db : -100;
}

// By at least so many dB, with the same bytes for any number of threads. The numbers of the refitted model are left.
void ExpectRefitBeatsCut(uint64_t samples, double width, double gain, NarrowedModel* result) {
  const Model teacher = Teacher();
  std::string first;
  for (const size_t threads : {1, 3}) {
    TestJob job(threads);
    WeightArena arena(&job.scratch());
    const auto synthetic = MakeSyntheticSamples(teacher, samples, /*seed=*/5);
    ASSERT_TRUE(synthetic.ok());
    NarrowOptions options{.width = width};
    auto refitted = NarrowModel(teacher, synthetic->get(), options, arena, job.context(), nullptr);
    ASSERT_TRUE(refitted.ok()) << refitted.status();
    options.refit = false;
    const auto cut = NarrowModel(teacher, synthetic->get(), options, arena, job.context(), nullptr);
    ASSERT_TRUE(cut.ok()) << cut.status();
    EXPECT_GT(Loss(teacher, refitted->model, job, arena),
              Loss(teacher, cut->model, job, arena) + gain);
    if (first.empty()) first = Fingerprint(refitted->model);
    EXPECT_TRUE(Fingerprint(refitted->model) == first);
    *result = *std::move(refitted);
  }
}

TEST(NarrowModelTest, ARefitIsBetterThanACutAndTheSameForAnyNumberOfThreads) {
  NarrowedModel refitted;
  ASSERT_NO_FATAL_FAILURE(ExpectRefitBeatsCut(300, 0.5, 6, &refitted));
  EXPECT_EQ(refitted.parameters_after, 12u * 8 + 12 + 12 * 10 + 10 + 10 * 4 + 4);
  EXPECT_DOUBLE_EQ(refitted.macs_after, 12 * 8 + 12 * 10 + 10 * 4);
  EXPECT_DOUBLE_EQ(refitted.macs_before, 24 * 8 + 24 * 20 + 20 * 4);
}

// Too few to hold any back: each judges fits that are made without it, and all are fitted on.
TEST(NarrowModelTest, FewSamplesAreFittedOnAndJudgeInTurn) {
  NarrowedModel refitted;
  ASSERT_NO_FATAL_FAILURE(ExpectRefitBeatsCut(19, 0.6, 1, &refitted));
}

TEST(NarrowModelTest, ConvolutionsKeepMultiplesOfEightWhereNobodySaysOtherwise) {
  onnx::ModelProto proto = testing::ParseProto(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 3, 4, 4] x) => (float[1, 2, 4, 4] y)
      { a = Conv(x, w1) r = Relu(a) b = Conv(r, w2) s = Relu(b) y = Conv(s, w3) })");
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  const auto add = [&](const std::string& name, int64_t outputs, int64_t inputs) {
    std::vector<float> values(static_cast<size_t>(outputs * inputs));
    for (float& value : values) value = normal(random);
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    for (const int64_t extent : {outputs, inputs, int64_t{1}, int64_t{1}}) tensor.add_dims(extent);
    tensor.set_raw_data(values.data(), values.size() * sizeof(float));
  };
  add("w1", 32, 3);
  add("w2", 12, 32);
  add("w3", 2, 12);
  const Model model = *testing::ReadModel(proto);
  TestJob job;
  WeightArena arena(&job.scratch());
  // 13 and 5 channels; the second group is too small to be rounded.
  const auto free = NarrowModel(model, nullptr, {.width = 0.4}, arena, job.context(), nullptr);
  ASSERT_TRUE(free.ok()) << free.status();
  EXPECT_EQ(free->parameters_after, 13u * 3 + 5 * 13 + 2 * 5);
  const auto rounded =
      NarrowModel(model, nullptr, {.width = 0.4, .multiple = 0}, arena, job.context(), nullptr);
  ASSERT_TRUE(rounded.ok()) << rounded.status();
  EXPECT_EQ(rounded->parameters_after, 16u * 3 + 5 * 16 + 2 * 5);
}

TEST(NarrowModelTest, LimitsOfGroupsHold) {
  const Model teacher = Teacher();
  TestJob job;
  WeightArena arena(&job.scratch());
  NarrowOptions options{.width = 0.1, .min_channels = 3, .multiple = 8};
  auto narrow = NarrowModel(teacher, nullptr, options, arena, job.context(), nullptr);
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  EXPECT_EQ(narrow->parameters_after, 8u * 8 + 8 + 8 * 8 + 8 + 8 * 4 + 4);
  options = {.width = 0.5, .keep = {"w2"}};
  narrow = NarrowModel(teacher, nullptr, options, arena, job.context(), nullptr);
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  EXPECT_TRUE(narrow->changes.empty());
  EXPECT_EQ(narrow->skips.size(), 3u);
  for (const double macs : {0.8, 0.5, 0.25}) {
    narrow = NarrowModel(teacher, nullptr, {.macs = macs}, arena, job.context(), nullptr);
    ASSERT_TRUE(narrow.ok()) << narrow.status();
    EXPECT_LE(narrow->macs_after, macs * narrow->macs_before);
    EXPECT_GT(narrow->macs_after, 0.6 * macs * narrow->macs_before);
  }
  const absl::Status refused =
      NarrowModel(teacher, nullptr, {.macs = 0.001}, arena, job.context(), nullptr).status();
  EXPECT_EQ(ReasonOf(refused), ERROR_REASON_RECIPE_INVALID);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("cannot be brought down"));
}

TEST(NarrowModelTest, WhatNobodyCanFollowComesBackAsItWas) {
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 3] x) => (float[N, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6}> { y = MatMul(x, w) })");
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto narrow = NarrowModel(model, nullptr, {.macs = 0.5}, arena, job.context(), nullptr);
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  EXPECT_TRUE(narrow->changes.empty());
  ASSERT_EQ(narrow->skips.size(), 1u);
  EXPECT_EQ(narrow->skips[0].reason(), "not_followed");
}

TEST(NarrowModelTest, LayersOfSubgraphsAreNamed) {
  const Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[2, 2] x, bool c) => (float[2, 2] y) <float[2, 2] w = {1, 2, 3, 4}>
      { y = If (c) <then_branch = t () => (float[2, 2] a) { a = MatMul(x, w) },
                    else_branch = e () => (float[2, 2] b) { b = Neg(x) }> })");
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto narrow = NarrowModel(model, nullptr, {.width = 0.5}, arena, job.context(), nullptr);
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  EXPECT_TRUE(narrow->changes.empty());
  ASSERT_EQ(narrow->skips.size(), 1u);
  EXPECT_EQ(narrow->skips[0].tensor(), "w");
  EXPECT_THAT(narrow->skips[0].detail(), HasSubstr("subgraph"));
}

// Networks of all kinds of blocks: a refitted model is never worse than the cut one on the
// held-back samples, and it runs.
class GeneratedNarrowTest : public ::testing::TestWithParam<unsigned> {};

TEST_P(GeneratedNarrowTest, RefitsAreJudged) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  const Model model = NetworkMaker(GetParam()).Make(4);
  TestJob job;
  WeightArena arena(&job.scratch());
  const auto samples = MakeSyntheticSamples(model, 40, /*seed=*/GetParam());
  ASSERT_TRUE(samples.ok());
  const auto narrow =
      NarrowModel(model, samples->get(), {.width = 0.6}, arena, job.context(), nullptr);
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  for (const auto& change : narrow->changes) {
    if (!change.has_output_sqnr_db()) continue;
    EXPECT_GE(change.output_sqnr_db(), change.plain_output_sqnr_db()) << change.node();
  }
  EXPECT_TRUE(std::isfinite(Loss(model, narrow->model, job, arena)));
}

INSTANTIATE_TEST_SUITE_P(Seeds, GeneratedNarrowTest, ::testing::Range(1u, 11u));

TEST(NarrowModelTest, StopsWhenCancelled) {
  const Model teacher = Teacher();
  TestJob job;
  WeightArena arena(&job.scratch());
  job.cancellation().Cancel();
  EXPECT_EQ(
      ReasonOf(
          NarrowModel(teacher, nullptr, {.width = 0.5}, arena, job.context(), nullptr).status()),
      ERROR_REASON_JOB_CANCELLED);
}

}  // namespace
}  // namespace modelpress
