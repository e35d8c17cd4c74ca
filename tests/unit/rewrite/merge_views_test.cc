// Views next to each other become one, and only where that changes nothing.
#include "core/rewrite/merge_views.h"

#include "core/model/graph.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using testing::ModelFromText;
using testing::TestJob;

struct Case {
  const char* name;
  const char* graph;
  std::vector<std::string> ops;  // that are left
};

std::vector<std::string> Merge(const std::string& graph, Model* out = nullptr) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>)" + graph);
  TestJob job;
  WeightArena arena(job.context().scratch);
  EXPECT_TRUE(MergeViews(model, arena).ok());
  std::vector<std::string> ops;
  for (const onnx::NodeProto& node : model.proto().graph().node()) ops.push_back(node.op_type());
  if (out != nullptr) *out = std::move(model);
  return ops;
}

TEST(MergeViews, WhatIsLeft) {
  const Case cases[] = {
      {"a Reshape after another one",
       R"(g (float[2, 6] x) => (float[2, 2, 3] y) <int64[2] a = {3, 4}, int64[3] b = {2, 2, -1}> {
            r = Reshape (x, a)
            y = Reshape (r, b) })",
       {"Reshape"}},
      {"a copied extent is that of the Reshape before it",
       R"(g (float[2, 6] x) => (float[3, 2, 2] y) <int64[2] a = {3, 4}, int64[3] b = {0, 2, 2}> {
            r = Reshape (x, a)
            y = Reshape (r, b) })",
       {"Reshape", "Reshape"}},
      {"there and back",
       R"(g (float[2, 6] x) => (float[2, 6] y) <int64[2] a = {3, 4}, int64[2] b = {2, 6}> {
            r = Reshape (x, a)
            s = Reshape (r, b)
            y = Relu (s) })",
       {"Relu"}},
      {"an axis that is only there for a Transpose",
       R"(g (float[9, 2, 3, 5] x) => (float[3, 9, 2, 5] y) <int64[1] a = {0}, int64[1] b = {-2}> {
            u = Unsqueeze (x, a)
            t = Transpose <perm = [3, 1, 2, 0, 4]> (u)
            y = Squeeze (t, b) })",
       {"Transpose"}},
      {"another axis is squeezed",
       R"(g (float[9, 1, 3] x) => (float[1, 3, 9] y) <int64[1] a = {0}, int64[1] b = {0}> {
            u = Unsqueeze (x, a)
            t = Transpose <perm = [2, 0, 3, 1]> (u)
            y = Squeeze (t, b) })",
       {"Unsqueeze", "Transpose", "Squeeze"}},
      {"one place of a Transpose",
       R"(g (float[9, 2, 3] x) => (float[9, 2] y) <int64 i = {1}> {
            t = Transpose <perm = [2, 0, 1]> (x)
            y = Gather <axis = 0> (t, i) })",
       {"Gather"}},
      {"one place, and the others in another order",
       R"(g (float[9, 2, 3] x) => (float[2, 9] y) <int64 i = {1}> {
            t = Transpose <perm = [2, 1, 0]> (x)
            y = Gather <axis = 0> (t, i) })",
       {"Transpose", "Gather"}},
      {"axes are split before they change places",
       R"(g (float[9, 2, 48] x) => (float[2, 4, 9, 12] y)
          <int64[3] a = {9, 8, 12}, int64[4] b = {2, 4, 9, 12}> {
            r = Reshape (x, a)
            t = Transpose <perm = [1, 0, 2]> (r)
            y = Reshape (t, b) })",
       {"Reshape", "Transpose"}},
      {"an unknown axis is split",
       R"(g (float[9, n, 48] x) => (float[m, 4, 9, 12] y)
          <int64[3] a = {9, -1, 12}, int64[4] b = {-1, 4, 9, 12}> {
            r = Reshape (x, a)
            t = Transpose <perm = [1, 0, 2]> (r)
            y = Reshape (t, b) })",
       {"Reshape", "Transpose"}},
      {"a Reshape across axes stays",
       R"(g (float[9, 2, 48] x) => (float[2, 2, 18, 12] y)
          <int64[3] a = {9, 8, 12}, int64[4] b = {2, 2, 18, 12}> {
            r = Reshape (x, a)
            t = Transpose <perm = [1, 0, 2]> (r)
            y = Reshape (t, b) })",
       {"Reshape", "Transpose", "Reshape"}},
      {"Gemm transposes by itself",
       R"(g (float[2, 3] x, float[3, 4] w) => (float[2, 4] y) {
            t = Transpose <perm = [1, 0]> (w)
            y = Gemm <transB = 1> (x, t) })",
       {"Gemm"}},
      {"Expand before a broadcast",
       R"(g (float[2, 4, 9] x, float[2, 1, 9] m) => (float[2, 4, 9] y) <int64[3] s = {2, 4, 9}> {
            e = Expand (m, s)
            y = Add (x, e) })",
       {"Add"}},
      {"Expand that gives the result its shape",
       R"(g (float[2, 1, 9] x, float[2, 1, 9] m) => (float[2, 4, 9] y) <int64[3] s = {2, 4, 9}> {
            e = Expand (m, s)
            y = Add (x, e) })",
       {"Expand", "Add"}},
      {"Expand that gives the result its rank",
       R"(g (float[4] x, float[4] m) => (float[1, 4] y) <int64[2] s = {1, 4}> {
            e = Expand (m, s)
            y = Add (x, e) })",
       {"Expand", "Add"}},
      {"two Expands that broadcast each other",
       R"(g (float[2, 1] x, float[1, 3] m) => (float[2, 3] y) <int64[2] s = {2, 3}> {
            d = Expand (x, s)
            e = Expand (m, s)
            y = Add (d, e) })",
       {"Add"}},
      {"of two Expands one",
       R"(g (float[2, 1] x, float[2, 1] m) => (float[2, 3] y) <int64[2] s = {2, 3}> {
            d = Expand (x, s)
            e = Expand (m, s)
            y = Sub (d, e) })",
       {"Expand", "Sub"}},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(Merge(c.graph), ::testing::ElementsAreArray(c.ops)) << c.name;
  }
}

TEST(MergeViews, AxesAreRight) {
  Model model;
  Merge(R"(g (float[9, 2, 48] x) => (float[2, 4, 9, 12] y, float[9, 2] z)
           <int64[3] a = {9, 8, 12}, int64[4] b = {2, 4, 9, 12}, int64 i = {1}> {
             r = Reshape (x, a)
             t = Transpose <perm = [1, 0, 2]> (r)
             y = Reshape (t, b)
             u = Transpose <perm = [2, 0, 1]> (x)
             z = Gather <axis = -3> (u, i) })",
        &model);
  const onnx::GraphProto& graph = model.proto().graph();
  ASSERT_EQ(graph.node_size(), 3);
  EXPECT_THAT(FindAttribute(graph.node(1), "perm")->ints(), ElementsAre(1, 2, 0, 3));
  EXPECT_THAT(testing::Values(model, *testing::FindInitializer(model, graph.node(0).input(1))),
              ElementsAre(9, 2, 4, 12));
  EXPECT_EQ(FindAttribute(graph.node(2), "axis")->i(), 2);
}

TEST(MergeViews, SubgraphsReadWhatTookTheValuesPlace) {
  Model model;
  Merge(R"(g (float[2, 6] x, bool c) => (float[2, 6] y)
           <int64[2] a = {3, 4}, int64[2] b = {2, 6}> {
             r = Reshape (x, a)
             s = Reshape (r, b)
             y = If (c) <then_branch = t () => (float[2, 6] p) { p = Relu (s) },
                         else_branch = e () => (float[2, 6] q) { q = Neg (s) }> })",
        &model);
  ASSERT_EQ(model.proto().graph().node_size(), 1);
  EXPECT_EQ(model.proto().graph().node(0).attribute(0).g().node(0).input(0), "x");
}

}  // namespace
}  // namespace modelpress
