// Removing channels: shapes in literal cases, properties over generated networks.
#include "core/channels/remove_channels.h"

#include <cmath>
#include <cstring>
#include <map>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "onnx/checker.h"
#include "tests/unit/channels/generated_network.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using testing::FindInitializer;
using testing::ModelFromText;
using testing::NetworkMaker;
using testing::RandomFloatTensor;
using testing::RunOnce;
using testing::TestJob;
using testing::Values;

Dependencies Find(Model& model) {
  const GraphIndex index(model.mutable_proto());
  return FindDependencyGroups(model, index, {});
}

void ExpectValid(const Model& model) {
  try {
    onnx::checker::check_model(model.proto(), /*full_check=*/true);
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
}

void Remove(Model& model, const Dependencies& dependencies, const RemovedChannels& removed,
            TestJob& job, WeightArena& arena) {
  const absl::Status status = RemoveChannels(
      model, dependencies.shapes, KeptAfter(dependencies, removed), arena, job.context());
  ASSERT_TRUE(status.ok()) << status;
  ExpectValid(model);
}

TEST(RemoveChannelsTest, NumbersThatNameExtentsArePutRight) {
  // Split sizes, Slice bounds, the shape of a Reshape, the groups of a convolution.
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[1, 1, 2, 2] x) => (float[1, 2] y)
      <float[6, 1, 1, 1] w = {1, 2, 3, 4, 5, 6}, int64[2] sizes = {2, 4}, int64[1] from = {1},
       int64[1] to = {9223372036854775807}, int64[1] axis = {1}, float[5, 1, 1, 1] d = {1, 1, 1, 1, 1},
       int64[2] flat = {1, 20}, float[20, 2] f = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
       1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}>
      { h = Conv(x, w) a, b = Split <axis = 1> (h, sizes) c = Slice(b, from, to, axis)
        q = Concat <axis = 1> (a, c) k = Conv <group = 5> (q, d) r = Reshape(k, flat)
        y = MatMul(r, f) })");
  const Dependencies found = Find(model);
  // Channels of a, the first of b, the last three of b.
  ASSERT_EQ(found.groups.size(), 4u);
  TestJob job;
  WeightArena arena(&job.scratch());
  Remove(model, found, {{1}, {}, {0, 2}, {}}, job, arena);
  EXPECT_THAT(Values(model, *FindInitializer(model, "w")), ElementsAre(1, 3, 5));
  EXPECT_THAT(Values(model, *FindInitializer(model, "a_cut")), ElementsAre(1, 2));
  EXPECT_THAT(Values(model, *FindInitializer(model, "c_cut")), ElementsAre(1));
  EXPECT_THAT(Values(model, *FindInitializer(model, "r_cut")), ElementsAre(1, 8));
  EXPECT_THAT(Values(model, *FindInitializer(model, "f")),
              ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 5, 6, 7, 8, 9, 10, 11, 12));
  for (const auto& node : model.proto().graph().node()) {
    if (node.output(0) != "k") continue;
    EXPECT_EQ(IntAttribute(node, "group", 1), 2);
  }
  std::mt19937 random(1);
  EXPECT_EQ(RunOnce(model, {{"x", RandomFloatTensor(random, {1, 1, 2, 2})}}, "y").size(), 2u);
}

TEST(RemoveChannelsTest, AShapeThatIsComputedBecomesConstant) {
  Model model = ModelFromText(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (float[batch, 5, 8] x) => (float[batch, 5, 2] y)
      <float[8, 8] w = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8,
       1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8},
       float[8, 2] o = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, int64 zero = {0},
       int64[1] front = {0}, int64[1] two = {2}, int64[1] four = {4}, int64[1] five = {5}, int64[1] eight = {8}>
      { h = MatMul(x, w) s = Shape(h) e = Gather(s, zero) n = Unsqueeze(e, front)
        c = Concat <axis = 0> (n, five, four, two) r = Reshape(h, c) t = Relu(r)
        d = Concat <axis = 0> (n, five, eight) m = Reshape(t, d)
        y = MatMul(m, o) })");
  const Dependencies found = Find(model);
  ASSERT_EQ(found.groups.size(), 2u);
  ASSERT_EQ(found.groups[0].channels, 4u) << found.groups[0].reason;
  TestJob job;
  WeightArena arena(&job.scratch());
  Remove(model, found, {{0, 3}, {}}, job, arena);
  EXPECT_THAT(Values(model, *FindInitializer(model, "r_cut")), ElementsAre(0, 5, 2, 2));
  EXPECT_THAT(Values(model, *FindInitializer(model, "m_cut")), ElementsAre(0, 5, 4));
  EXPECT_THAT(Values(model, *FindInitializer(model, "o")), ElementsAre(5, 6, 7, 8, 9, 10, 11, 12));
  std::mt19937 random(1);
  for (const int64_t batch : {1, 3}) {
    EXPECT_EQ(RunOnce(model, {{"x", RandomFloatTensor(random, {batch, 5, 8})}}, "y").size(),
              static_cast<size_t>(batch * 10));
  }
}

// Sets to 0 what reads a channel, so that nothing depends on it.
void Disconnect(Model& model, const Dependencies& dependencies, size_t group, uint32_t channel,
                WeightArena& arena) {
  for (const int number : dependencies.groups[group].consumers) {
    const ChannelLayer& layer = dependencies.layers[number];
    const auto* member = dependencies.groups[group].Find(layer.weight, layer.input_axis);
    ASSERT_NE(member, nullptr);
    const GraphIndex index(model.mutable_proto());
    onnx::TensorProto* tensor = index.Constant(model.proto().graph(), layer.weight);
    const std::vector<int64_t> dims(tensor->dims().begin(), tensor->dims().end());
    const auto bytes = model.Bytes(*tensor);
    ASSERT_TRUE(bytes.ok());
    std::vector<float> values(bytes->size() / sizeof(float));
    std::memcpy(values.data(), bytes->data(), bytes->size());
    size_t inner = 1;
    for (size_t i = static_cast<size_t>(layer.input_axis) + 1; i < dims.size(); ++i) {
      inner *= static_cast<size_t>(dims[i]);
    }
    for (size_t i = 0; i < values.size(); ++i) {
      const auto at =
          static_cast<uint32_t>(i / inner % static_cast<size_t>(dims[layer.input_axis]));
      for (size_t k = 0; k < member->width; ++k) {
        if (member->positions[channel * member->width + k] == at) values[i] = 0;
      }
    }
    ASSERT_TRUE(
        model.SetBytes(tensor, DataType::kFloat, dims, std::as_bytes(std::span(values)), arena)
            .ok());
  }
}

// Some channels of each group, never all.
RemovedChannels RandomChannels(std::mt19937& random, const Dependencies& dependencies) {
  RemovedChannels removed(dependencies.groups.size());
  for (size_t g = 0; g < removed.size(); ++g) {
    const auto& group = dependencies.groups[g];
    if (!group.reason.empty()) continue;
    for (uint32_t c = 1; c < group.channels; ++c) {
      if (random() % 3 == 0) removed[g].push_back(c);
    }
  }
  return removed;
}

class GeneratedTest : public ::testing::TestWithParam<unsigned> {};

TEST_P(GeneratedTest, ChannelsThatNobodyReadsLeaveNoTrace) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  std::mt19937 random(GetParam());
  Model model = NetworkMaker(GetParam()).Make(2 + static_cast<int>(GetParam() % 5));
  const Dependencies dependencies = Find(model);
  const RemovedChannels removed = RandomChannels(random, dependencies);
  TestJob job;
  WeightArena arena(&job.scratch());
  uint64_t count = 0;
  for (size_t g = 0; g < removed.size(); ++g) {
    for (const uint32_t channel : removed[g]) {
      Disconnect(model, dependencies, g, channel, arena);
      ++count;
    }
  }
  Model cut = model.Clone();
  Remove(cut, dependencies, removed, job, arena);
  EXPECT_LE(dependencies.Macs(KeptAfter(dependencies, removed)), dependencies.Macs({}));
  const TensorMap inputs = {{"x", RandomFloatTensor(random, {1, 2, 6, 6})}};
  const std::vector<float> before = RunOnce(model, inputs, "y"), after = RunOnce(cut, inputs, "y");
  ASSERT_EQ(before.size(), after.size());
  for (size_t i = 0; i < before.size(); ++i) {
    EXPECT_NEAR(before[i], after[i], 1e-4 * (1 + std::abs(before[i]))) << count << " channels gone";
  }
}

std::map<std::string, std::vector<double>> Constants(const Model& model) {
  std::map<std::string, std::vector<double>> constants;
  for (const auto& tensor : model.proto().graph().initializer()) {
    constants[tensor.name()] = Values(model, tensor);
  }
  return constants;
}

TEST_P(GeneratedTest, OneAfterTheOtherIsAllAtOnce) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  std::mt19937 random(GetParam());
  Model model = NetworkMaker(GetParam()).Make(3);
  const Dependencies dependencies = Find(model);
  const RemovedChannels removed = RandomChannels(random, dependencies);
  TestJob job;
  WeightArena arena(&job.scratch());
  Model at_once = model.Clone();
  Remove(at_once, dependencies, removed, job, arena);
  Model stepwise = model.Clone();
  for (size_t g = removed.size(); g-- > 0;) {
    const Dependencies found = Find(stepwise);
    ASSERT_EQ(found.groups.size(), removed.size());
    RemovedChannels one(removed.size());
    one[g] = removed[g];
    Remove(stepwise, found, one, job, arena);
  }
  const auto a = Constants(at_once), b = Constants(stepwise);
  for (const auto& [name, values] : a) {
    if (!name.starts_with("w")) continue;
    EXPECT_EQ(values, b.at(name)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, GeneratedTest, ::testing::Range(1u, 25u));

}  // namespace
}  // namespace modelpress
