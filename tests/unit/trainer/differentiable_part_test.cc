// Which part of a model can be trained where its head chooses.
#include "core/training/differentiable_part.h"

#include "gmock/gmock.h"
#include "tests/support/model_builder.h"

namespace modelpress::testing {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Outputs(const Model& model) {
  std::vector<std::string> names;
  for (const auto& output : model.proto().graph().output()) names.push_back(output.name());
  return names;
}

std::vector<std::string> Operators(const Model& model) {
  std::vector<std::string> names;
  for (const auto& node : model.proto().graph().node()) names.push_back(node.op_type());
  return names;
}

TEST(DifferentiablePartTest, WhatAChoiceIsFedWithTakesThePlaceOfItsOutputs) {
  const auto part = FindDifferentiablePart(ModelFromText(
      R"(<ir_version: 8, opset_import: ["" : 17]>
         g (float[1, 4] x) => (float[1, 2] best, int64[1, 2] which, float[1, 3] features)
         <float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, int64[1] k = {2}>
         { features = MatMul(x, w)
           scores = Softmax(features)
           best, which = TopK(scores, k) })"));
  ASSERT_TRUE(part.has_value());
  EXPECT_THAT(Outputs(part->model), ElementsAre("features", "scores"));
  EXPECT_THAT(Operators(part->model), ElementsAre("MatMul", "Softmax"));
  EXPECT_THAT(part->values, ElementsAre("scores"));
  EXPECT_THAT(part->nodes, ElementsAre("best"));
}

TEST(DifferentiablePartTest, BoxesAndScoresOfADetector) {
  const auto part = FindDifferentiablePart(ModelFromText(
      R"(<ir_version: 8, opset_import: ["" : 17]>
         g (float[1, 6, 4] x) => (float[k, 4] chosen)
         <float[4, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
          float[4, 1] v = {1, 2, 3, 4}, int64 most = {3}, int64[1] column = {2}, int64[1] axis = {1},
          float[6, 1] anchors = {0, 1, 2, 3, 4, 5}, int64[1] front = {0}>
         { boxes = MatMul(x, w)
           s = MatMul(x, v)
           scores = Transpose <perm = [0, 2, 1]> (s)
           rows = NonMaxSuppression(boxes, scores, most)
           places = Gather <axis = 1> (rows, column)
           flat = Squeeze(places, axis)
           one = Squeeze(boxes, front)
           moved = Add(one, anchors)
           chosen = Gather <axis = 0> (moved, flat) })"));
  ASSERT_TRUE(part.has_value());
  // In the order in which they are read.
  EXPECT_THAT(part->values, ElementsAre("boxes", "scores", "moved"));
  EXPECT_THAT(Outputs(part->model), ElementsAre("boxes", "scores", "moved"));
}

TEST(DifferentiablePartTest, TheWholeModelWhereThereIsNothingToCutOff) {
  // No choice at all; a choice by whole numbers of the input; layers with weights behind a choice.
  for (const char* text : {R"(<ir_version: 8, opset_import: ["" : 17]>
           g (float[1, 4] x) => (float[1, 3] y)
           <float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}>
           { y = MatMul(x, w) })",
                           R"(<ir_version: 8, opset_import: ["" : 17]>
           g (int64[1, 4] tokens, float[4, 3] x) => (float[1, 3] y)
           { last = ArgMax <axis = 1, keepdims = 0> (tokens)
             r = Relu(x)
             y = Gather <axis = 0> (r, last) })",
                           R"(<ir_version: 8, opset_import: ["" : 17]>
           g (float[1, 4] x) => (float[1, 3] y)
           <float[4, 4] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
            float[2, 3] v = {1, 2, 3, 4, 5, 6}, int64[1] k = {2}>
           { h = MatMul(x, w)
             best, which = TopK(h, k)
             y = MatMul(best, v) })"}) {
    EXPECT_FALSE(FindDifferentiablePart(ModelFromText(text)).has_value()) << text;
  }
}

}  // namespace
}  // namespace modelpress::testing
