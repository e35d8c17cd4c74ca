// Which channels depend on each other, in literal small graphs.
#include "core/channels/dependency_groups.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/channels/generated_network.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using testing::FilledModel;

// "conv: 4 x [w:0 b:0 h:1]" for a group that may be cut, "conv: 4 kept" for one that may not;
// members are constants only, those with several positions for each channel as "w:1*9".
std::string Describe(const DependencyGroup& group) {
  if (!group.reason.empty()) {
    return group.name + ": " + std::to_string(group.channels) + " kept";
  }
  std::vector<std::string> members;
  for (const auto& member : group.members) {
    if (!member.is_constant) continue;
    members.push_back(member.axis.value + ":" + std::to_string(member.axis.axis) +
                      (member.width > 1 ? "*" + std::to_string(member.width) : ""));
  }
  std::ranges::sort(members);
  std::string text = group.name + ": " + std::to_string(group.channels) + " x";
  for (const std::string& member : members) text += " " + member;
  return text;
}

Dependencies Find(std::string_view text) {
  Model model = FilledModel(text);
  const GraphIndex index(model.mutable_proto());
  return FindDependencyGroups(model, index, {});
}

std::vector<std::string> Groups(std::string_view text) {
  const Dependencies dependencies = Find(text);
  std::vector<std::string> groups;
  for (const auto& group : dependencies.groups) groups.push_back(Describe(group));
  return groups;
}

TEST(DependencyGroupsTest, AChainOfLayers) {
  EXPECT_THAT(Groups(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 3] x) => (float[N, 2] y)
      <float[5, 3] w, float[5] b, float[5, 2] v, float[2] c>
      { h = Gemm <transB = 1> (x, w, b) r = Relu(h) m = MatMul(r, v) y = Add(m, c) })"),
              ElementsAre("h: 5 x b:0 v:0 w:0", "m: 2 kept"));
}

TEST(DependencyGroupsTest, AResidualStreamWithNormsAndDepthwise) {
  EXPECT_THAT(
      Groups(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 1, 8, 8] x) => (float[N, 2] y)
      <float[4, 1, 3, 3] w, float[4] s, float[4] b, float[4] m, float[4] v,
       float[4, 1, 3, 3] d, float[6, 4, 1, 1] e, float[4, 6, 1, 1] p, float[2, 4] f>
      { h = Conv(x, w) n = BatchNormalization(h, s, b, m, v)
        q = Conv <group = 4, pads = [1, 1, 1, 1]> (n, d)
        k = Conv(q, e) r = Relu(k) t = Conv(r, p) u = Add(n, t)
        a = GlobalAveragePool(u) l = Flatten(a) y = Gemm <transB = 1> (l, f) })"),
      ElementsAre("h: 4 x b:0 d:0 e:1 f:1 m:0 p:0 s:0 v:0 w:0", "k: 6 x e:0 p:1", "y: 2 kept"));
}

TEST(DependencyGroupsTest, ConcatHasOffsetsAndFlattenBlocks) {
  const Dependencies found = Find(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 1, 2, 2] x) => (float[N, 3] y)
      <float[2, 1, 1, 1] w, float[3, 1, 1, 1] v, float[3, 20] f>
      { a = Conv(x, w) b = Conv(x, v) c = Concat <axis = 1> (a, b) l = Flatten(c)
        y = Gemm <transB = 1> (l, f) })");
  ASSERT_EQ(found.groups.size(), 3u);
  EXPECT_EQ(Describe(found.groups[0]), "a: 2 x f:1*4 w:0");
  EXPECT_EQ(Describe(found.groups[1]), "b: 3 x f:1*4 v:0");
  // Channel 1 of b is channel 3 of c, which is elements 12 to 15.
  const auto* member = found.groups[1].Find("f", 1);
  ASSERT_NE(member, nullptr);
  EXPECT_THAT(std::vector(member->positions.begin() + 4, member->positions.begin() + 8),
              ElementsAre(12, 13, 14, 15));
  EXPECT_DOUBLE_EQ(found.groups[1].parameters_per_channel, 1 + 3 * 4);
  // One channel of b: 4 products in its Conv, 4 x 3 in the Gemm; with N = 1.
  EXPECT_DOUBLE_EQ(found.groups[1].macs_per_channel, 4 + 12);
}

TEST(DependencyGroupsTest, SplitSliceAndGroupsOfAConvolution) {
  EXPECT_THAT(Groups(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 1, 2, 2] x) => (float[N, 1, 2, 2] y)
      <float[6, 1, 1, 1] w, int64[2] sizes = {2, 4}, int64[1] from = {1}, int64[1] to = {3},
       int64[1] axis = {1}, float[2, 2, 1, 1] u, float[1, 4, 1, 1] v>
      { h = Conv(x, w) a, b = Split <axis = 1> (h, sizes) c = Slice(b, from, to, axis)
        p = Conv(a, u) q = Concat <axis = 1> (p, c) y = Conv(q, v) })"),
              ElementsAre("h: 2 x u:1 w:0",  // of a
                          "h: 2 x w:0",      // of b, not in the slice
                          "h: 2 x v:1 w:0", "p: 2 x u:0 v:1", "y: 1 kept"));
  EXPECT_THAT(Groups(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 1, 2, 2] x) => (float[N, 1, 2, 2] y)
      <float[6, 1, 1, 1] w, float[4, 3, 1, 1] u, float[1, 4, 1, 1] v>
      { h = Conv(x, w) a = Conv <group = 2> (h, u) y = Conv(a, v) })"),
              ElementsAre("h: 2 x u:0*2 v:1*2 w:0*3", "y: 1 kept"));
}

TEST(DependencyGroupsTest, HeadsOfAnAttention) {
  // d = 8 in 2 heads of 4; the inner width of a head cannot change, heads can go.
  EXPECT_THAT(Groups(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 5, 3] x) => (float[N, 5, 2] y)
      <float[3, 24] qkv, float[24] b, float[8, 2] o, int64[3] sizes = {8, 8, 8},
       int64[4] heads = {0, 0, 2, 4}, int64[3] merged = {0, 0, -1}>
      { m = MatMul(x, qkv) h = Add(m, b) q, k, v = Split <axis = 2> (h, sizes)
        q4 = Reshape(q, heads) k4 = Reshape(k, heads) v4 = Reshape(v, heads)
        qt = Transpose <perm = [0, 2, 1, 3]> (q4) kt = Transpose <perm = [0, 2, 3, 1]> (k4)
        vt = Transpose <perm = [0, 2, 1, 3]> (v4)
        s = MatMul(qt, kt) p = Softmax(s) c = MatMul(p, vt)
        ct = Transpose <perm = [0, 2, 1, 3]> (c) f = Reshape(ct, merged) y = MatMul(f, o) })"),
              ElementsAre("m: 2 x b:0*12 o:0*4 qkv:1*12", "y: 2 kept"));
}

TEST(DependencyGroupsTest, NormsOverChannelsAndGroups) {
  EXPECT_THAT(Groups(R"(<ir_version: 8, opset_import: ["" : 17]>
      g (int64[N, 5] t) => (float[N, 5, 2] y)
      <float[9, 4] e, float[4] s, float[4] b, float[4, 2] o>
      { h = Gather(e, t) n = LayerNormalization(h, s, b) y = MatMul(n, o) })"),
              ElementsAre("h: 4 x b:0 e:1 o:0 s:0", "y: 2 kept"));
  EXPECT_THAT(Groups(R"(<ir_version: 10, opset_import: ["" : 21]>
      g (float[N, 1, 2, 2] x) => (float[N, 1, 2, 2] y)
      <float[6, 1, 1, 1] w, float[6] s, float[6] b, float[1, 6, 1, 1] v>
      { h = Conv(x, w) n = GroupNormalization <num_groups = 3> (h, s, b) y = Conv(n, v) })"),
              ElementsAre("h: 3 x b:0*2 s:0*2 v:1*2 w:0*2", "y: 1 kept"));
  // A Softmax over the channels.
  EXPECT_THAT(Groups(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 3] x) => (float[N, 2] y) <float[3, 4] w, float[4, 2] v>
      { h = MatMul(x, w) n = Softmax(h) y = MatMul(n, v) })"),
              ElementsAre("h: 4 kept", "y: 2 kept"));
}

TEST(DependencyGroupsTest, WhatCannotBeFollowedIsNamed) {
  const Dependencies found = Find(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 3] x) => (float[N, 2] y, float[N, 4] h) <float[3, 4] w, float[4, 6] u, float[6, 2] v>
      { h = MatMul(x, w) r = Relu(h) k = MatMul(r, u) a = Tanh(k) c = Det(a)
        y = MatMul(a, v) })");
  ASSERT_EQ(found.groups.size(), 3u);
  EXPECT_EQ(found.groups[0].reason, "an output of the model");
  EXPECT_EQ(found.groups[1].reason, "the operator Det is not followed");
  EXPECT_EQ(found.groups[1].node, "c");
}

TEST(DependencyGroupsTest, ExtentsThatAreComputedWithStay) {
  // The channels of h are read by Shape and used as a number.
  EXPECT_THAT(Groups(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 3] x) => (float[N, 2] y) <float[3, 4] w, float[4, 2] v, int64 one = {1}>
      { h = MatMul(x, w) s = Shape(h) c = Gather(s, one) f = Cast <to = 1> (c) d = Div(h, f)
        y = MatMul(d, v) })"),
              ElementsAre("h: 4 kept", "y: 2 kept"));
  // Only the batch is read.
  EXPECT_THAT(Groups(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[N, 3] x) => (float[N, 2] y) <float[3, 4] w, float[4, 2] v, int64 zero = {0}>
      { h = MatMul(x, w) s = Shape(h) c = Gather(s, zero) f = Cast <to = 1> (c) d = Div(h, f)
        y = MatMul(d, v) })"),
              ElementsAre("h: 4 x v:0 w:1", "y: 2 kept"));
}

TEST(DependencyGroupsTest, WhatSubgraphsReadStays) {
  EXPECT_THAT(Groups(R"(<ir_version: 8, opset_import: ["" : 13]>
      g (float[2, 3] x, bool c) => (float[2, 2] y) <float[3, 4] w, float[4, 2] v>
      { h = MatMul(x, w)
        r = If (c) <then_branch = t () => (float[2, 4] a) { a = Relu(h) },
                    else_branch = e () => (float[2, 4] b) { b = Neg(h) }>
        y = MatMul(r, v) })"),
              ElementsAre("h: 4 kept", "y: 2 kept"));
}

}  // namespace
}  // namespace modelpress
