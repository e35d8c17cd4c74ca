// Constants get the shape and type that they are read in.
#include "core/rewrite/fold_views.h"

#include "core/base/scratch.h"
#include "core/model/graph.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/model_builder.h"
#include "tests/support/test_job.h"

namespace modelpress {
namespace {

using ::testing::ElementsAre;
using testing::FindInitializer;
using testing::ModelFromText;
using testing::TestJob;
using testing::Values;

void Fold(Model& model) {
  TestJob job;
  WeightArena arena(job.context().scratch);
  ASSERT_TRUE(FoldViews(model, arena).ok());
  RemoveDead(model.mutable_proto());
}

TEST(FoldViews, AWeightKeepsItsNameInItsNewShape) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[1, 2, 3] x) => (float[1, 2, 3] y)
    <float[2] w = {5, 6}, int64[2] shape = {2, 1}, int64[1] axis = {0}> {
      column = Reshape (w, shape)
      image = Unsqueeze (column, axis)
      y = Mul (x, image)
    })");
  Fold(model);
  ASSERT_EQ(model.proto().graph().node_size(), 1);
  const onnx::TensorProto* w = FindInitializer(model, "w");
  ASSERT_NE(w, nullptr);
  EXPECT_THAT(w->dims(), ElementsAre(1, 2, 1));
  EXPECT_THAT(Values(model, *w), ElementsAre(5, 6));
  EXPECT_EQ(model.proto().graph().node(0).input(1), "w");
}

TEST(FoldViews, WhatOthersReadIsCopied) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[2, 2] x) => (float[2, 2] y)
    <float[2] w = {5, 6}, int64[2] shape = {2, 1}> {
      column = Reshape (w, shape)
      a = Mul (x, column)
      y = Add (a, w)
    })");
  Fold(model);
  ASSERT_EQ(model.proto().graph().node_size(), 2);
  EXPECT_THAT(FindInitializer(model, "w")->dims(), ElementsAre(2));
  const onnx::TensorProto* copy = FindInitializer(model, model.proto().graph().node(0).input(1));
  ASSERT_NE(copy, nullptr);
  EXPECT_THAT(copy->dims(), ElementsAre(2, 1));
}

TEST(FoldViews, TransposedWeightsAreStoredSo) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[3, 2] x) => (float[3, 2] y, float[3, 2] z)
    <float[2, 3] w = {1, 2, 3, 4, 5, 6}, float[2, 3] shared = {1, 2, 3, 4, 5, 6}> {
      t = Transpose <perm = [1, 0]> (w)
      y = Mul (x, t)
      s = Transpose <perm = [1, 0]> (shared)
      m = MatMul (s, shared)
      v = MatMul (m, s)
      z = Add (v, x)
    })");
  Fold(model);
  for (const onnx::NodeProto& node : model.proto().graph().node())
    EXPECT_NE(node.op_type(), "Transpose");
  const onnx::TensorProto* w = FindInitializer(model, "w");
  ASSERT_NE(w, nullptr);
  EXPECT_THAT(w->dims(), ElementsAre(3, 2));
  EXPECT_THAT(Values(model, *w), ElementsAre(1, 4, 2, 5, 3, 6));
  EXPECT_THAT(FindInitializer(model, "shared")->dims(), ElementsAre(2, 3));
}

TEST(FoldViews, SmallConstantsAreCast) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[2] x, int8[2] q) => (float[2] y, int8[2] z, int8[2] s)
    <int64[2] w = {-3, 7}, int64[2] large = {300, 1}> {
      f = Cast <to = 1> (w)
      y = Mul (x, f)
      c = Cast <to = 3> (w)
      z = Add (q, c)
      d = Cast <to = 3> (large)
      s = Add (q, d)
    })");
  Fold(model);
  int casts = 0;
  for (const onnx::NodeProto& node : model.proto().graph().node())
    casts += node.op_type() == "Cast";
  EXPECT_EQ(casts, 1);  // 300 is no int8
  const onnx::TensorProto* f = FindInitializer(model, model.proto().graph().node(0).input(1));
  ASSERT_NE(f, nullptr);
  EXPECT_EQ(Type(*f), DataType::kFloat);
  EXPECT_THAT(Values(model, *f), ElementsAre(-3, 7));
}

TEST(FoldViews, ShapesThatDoNotFitStay) {
  Model model = ModelFromText(R"(<ir_version: 9, opset_import: ["" : 18]>
    g (float[3] x, int64[1] n) => (float[3] y, float[?] z)
    <float[4] w = {1, 2, 3, 4}, int64[2] shape = {3, -1}, float[0] none = {}, int64[2] empty = {0, 5}> {
      bad = Reshape (w, shape)
      flat = Reshape (none, n)
      y = Identity (x)
      z = Reshape (w, n)
    })");
  const std::string before = model.proto().graph().SerializeAsString();
  TestJob job;
  WeightArena arena(job.context().scratch);
  ASSERT_TRUE(FoldViews(model, arena).ok());
  EXPECT_EQ(model.proto().graph().SerializeAsString(), before);
}

}  // namespace
}  // namespace modelpress
