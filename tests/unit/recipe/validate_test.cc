// What a recipe may say beyond its syntax.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/base/status.h"
#include "core/recipe/recipe_reader.h"
#include "modelpress/v1/recipe.pb.h"

namespace modelpress {
namespace {

TEST(ValidateRecipeTest, AcceptsSensibleRecipes) {
  for (const char* text : {
           "{}",
           "passes: [{quantize_weights: {}}]",
           "passes: [{convert_opset: {version: 13}}, {quantize_weights: {}}]",
           "quality: [{metric: accuracy, max_drop: 0.01}, {metric: size_ratio, max: 0.3}]",
           "{judging: {gate: structure}, quality: [{metric: size_bytes, max: 1000}]}",
           "output: {format: onnx, layout: sidecar}",
       }) {
    const absl::Status status = ValidateRecipe(ReadRecipe(text).value());
    EXPECT_TRUE(status.ok()) << text << ": " << status;
  }
}

TEST(ValidateRecipeTest, MistakesNameTheirField) {
  struct Case {
    const char* text;
    ErrorReason reason;
    const char* field;
    const char* nearest;
  };
  const Case cases[] = {
      {"passes: [{}]", ERROR_REASON_UNKNOWN_PASS, "passes[0]", ""},
      {"passes: [{quantize_weights: {}}, {allow_no_change: true}]", ERROR_REASON_UNKNOWN_PASS,
       "passes[1]", ""},
      {"passes: [{prune_magnitude: {}}]", ERROR_REASON_RECIPE_INVALID, nullptr, ""},
      {"passes: [{prune_magnitude: {sparsity_global: 1.5}}]", ERROR_REASON_RECIPE_INVALID,
       "passes[0].prune_magnitude.sparsity_global", ""},
      {"quality: [{metric: acuracy, min: 0.5}]", ERROR_REASON_RECIPE_INVALID, "quality[0].metric",
       "accuracy"},
      {"quality: [{metric: '', min: 0.5}]", ERROR_REASON_RECIPE_INVALID, "quality[0].metric", ""},
      {"quality: [{metric: accuracy}]", ERROR_REASON_RECIPE_INVALID, "quality[0]", ""},
      {"quality: [{metric: f1, min: 0.5}, {metric: f1, min: 0.5, max: 0.4}]",
       ERROR_REASON_RECIPE_INVALID, "quality[1].min", ""},
      {"quality: [{metric: f1, max_drop: -1}]", ERROR_REASON_RECIPE_INVALID, "quality[0].max_drop",
       ""},
      {"quality: [{metric: f1, max_relative_drop: -1}]", ERROR_REASON_RECIPE_INVALID,
       "quality[0].max_relative_drop", ""},
      {"quality: [{metric: sqnr_db, max_drop: 1}]", ERROR_REASON_RECIPE_INVALID, "quality[0]", ""},
      {"quality: [{metric: f1, min: 0, output: y}]", ERROR_REASON_RECIPE_INVALID,
       "quality[0].output", ""},
      {"{judging: {gate: structure}, quality: [{metric: f1, min: 0}]}", ERROR_REASON_RECIPE_INVALID,
       "quality[0].metric", ""},
      {"{judging: {latency: false}, quality: [{metric: latency_ratio, max: 1}]}",
       ERROR_REASON_RECIPE_INVALID, "quality[0].metric", ""},
      {"judging: {batch_size: 100000}", ERROR_REASON_RECIPE_INVALID, "judging.batch_size", ""},
      {"judging: {synthetic_samples: 4000000000}", ERROR_REASON_RECIPE_INVALID,
       "judging.synthetic_samples", ""},
      {"output: {format: onxx}", ERROR_REASON_RECIPE_INVALID, "output.format", "onnx"},
  };
  for (const Case& c : cases) {
    const absl::Status status = ValidateRecipe(ReadRecipe(c.text).value());
    const ErrorDetail detail = DetailOf(status);
    EXPECT_EQ(detail.reason(), c.reason) << c.text << ": " << status;
    ASSERT_TRUE(detail.metadata().contains("field")) << c.text;
    if (c.field != nullptr) {
      EXPECT_EQ(detail.metadata().at("field"), c.field) << c.text;
    }
    const auto nearest = detail.metadata().find("nearest");
    EXPECT_EQ(nearest == detail.metadata().end() ? "" : nearest->second, c.nearest) << c.text;
  }
}

TEST(ValidateRecipeTest, RefusesWhatOnlyAMessageOffTheWireCanSay) {
  Recipe recipe;
  recipe.mutable_judging()->set_gate(static_cast<Judging::Gate>(77));
  EXPECT_EQ(DetailOf(ValidateRecipe(recipe)).metadata().at("field"), "judging.gate");
  recipe.Clear();
  recipe.add_quality()->set_metric("f1");
  recipe.mutable_quality(0)->set_min(std::nan(""));
  EXPECT_EQ(DetailOf(ValidateRecipe(recipe)).metadata().at("field"), "quality[0].min");
  recipe.Clear();
  for (int i = 0; i < 65; ++i) recipe.add_passes()->mutable_fold_batch_norm();
  EXPECT_EQ(DetailOf(ValidateRecipe(recipe)).metadata().at("field"), "passes");
  recipe.Clear();
  recipe.mutable_judging()->set_output(std::string(kMaxRecipeBytes, 'x'));
  EXPECT_EQ(ReasonOf(ValidateRecipe(recipe)), ERROR_REASON_RECIPE_INVALID);
}

}  // namespace
}  // namespace modelpress
