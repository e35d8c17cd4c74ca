// Bad recipes and bad sample data.
#include <limits>

#include "tests/bad_input/bad_models.h"

namespace modelpress::testing {
namespace {

BadCase WithRecipe(std::string name, std::string recipe,
                   std::vector<ErrorReason> reasons = {ERROR_REASON_RECIPE_INVALID}) {
  return {
      std::move(name),
      [recipe] { return JobBytes{.model = SquareModel(64).SerializeAsString(), .recipe = recipe}; },
      std::move(reasons)};
}

BadCase WithData(std::string name, std::map<std::string, std::string> files,
                 std::vector<ErrorReason> reasons = {ERROR_REASON_DATA_INVALID}) {
  return {std::move(name),
          [files] {
            return JobBytes{.model = TinyModel().SerializeAsString(),
                            .data = files,
                            .recipe = "judging: {gate: full, latency: false}"};
          },
          std::move(reasons)};
}

}  // namespace

std::vector<BadCase> BadRecipes() {
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += "[";
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c <= 'i'; ++c) {
    const char before = static_cast<char>(c - 1);
    bomb += std::string(1, c) + ": &" + c + " [*" + before + ",*" + before + ",*" + before + "]\n";
  }
  return {
      WithRecipe("not_yaml", "passes: [unclosed"),
      WithRecipe("scalar", "42"),
      WithRecipe("unknown_field", "pases: []"),
      WithRecipe("unknown_pass", "passes: [{quantise_weights: {}}]",
                 {ERROR_REASON_RECIPE_INVALID, ERROR_REASON_UNKNOWN_PASS}),
      WithRecipe("empty_step", "passes: [{}]",
                 {ERROR_REASON_RECIPE_INVALID, ERROR_REASON_UNKNOWN_PASS}),
      WithRecipe("two_passes_in_one_step", "passes: [{quantize_weights: {}, fold_batch_norm: {}}]"),
      WithRecipe("unknown_enum_value", "passes: [{quantize_weights: {type: int9}}]"),
      WithRecipe("negative_unsigned", "seed: -1"),
      WithRecipe("number_out_of_range", "seed: 99999999999999999999999"),
      WithRecipe("text_for_number", "passes: [{prune_magnitude: {threshold: small}}]"),
      WithRecipe("nan_threshold", "passes: [{prune_magnitude: {threshold: .nan}}]"),
      WithRecipe("negative_threshold", "passes: [{prune_magnitude: {threshold: -1}}]"),
      WithRecipe("sparsity_of_one", "passes: [{prune_magnitude: {sparsity_global: 1}}]"),
      WithRecipe("no_way_to_prune", "passes: [{prune_magnitude: {}}]"),
      WithRecipe("two_ways_to_prune",
                 "passes: [{prune_magnitude: {threshold: 1, sparsity_global: 0.5}}]"),
      WithRecipe("opset_zero", "passes: [{convert_opset: {version: 0}}]"),
      WithRecipe("opset_999", "passes: [{convert_opset: {version: 999}}]"),
      WithRecipe("unknown_metric", "quality: [{metric: acuracy, min: 0.9}]"),
      WithRecipe("bound_without_limit", "quality: [{metric: accuracy}]"),
      WithRecipe("accuracy_without_data", "quality: [{metric: accuracy, min: 0.9}]",
                 {ERROR_REASON_DATA_MISSING, ERROR_REASON_RECIPE_INVALID}),
      WithRecipe("unknown_format", "output: {format: onx}"),
      WithRecipe("key_twice", "seed: 1\nseed: 2"),
      WithRecipe("nested_10000_deep", deep),
      WithRecipe("alias_bomb", bomb),
      WithRecipe("oversized", std::string(300 * 1024, '#')),
      WithRecipe("judged_output_missing", "judging: {output: nowhere, latency: false}"),
  };
}

std::vector<BadCase> BadData() {
  const std::string good = NpyFloats({2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  auto header = [](std::string_view shape, std::string_view type = "<f4") {
    return NpyBytes("{'descr': '" + std::string(type) +
                        "', 'fortran_order': False, 'shape': " + std::string(shape) + ", }",
                    std::string(32, '\0'));
  };
  return {
      WithData("no_array_of_the_input", {{"other.npy", good}}),
      WithData("wrong_extent", {{"x.npy", NpyFloats({2, 5}, std::vector<float>(10))}}),
      WithData("wrong_rank", {{"x.npy", NpyFloats({8}, std::vector<float>(8))}}),
      WithData("wrong_type", {{"x.npy", NpyInts({2, 4}, std::vector<int64_t>(8))}}),
      WithData("no_samples", {{"x.npy", NpyFloats({0, 4}, {})}}),
      WithData("nan_sample", {{"x.npy", NpyFloats({2, 4}, {1, 2, 3, 4, 5, nan, 7, 8})}},
               {ERROR_REASON_DATA_NOT_FINITE}),
      WithData("infinite_sample", {{"x.npy", NpyFloats({1, 4}, {1, infinity, 3, 4})}},
               {ERROR_REASON_DATA_NOT_FINITE}),
      WithData("labels_of_other_length",
               {{"x.npy", good}, {"labels.npy", NpyInts({3}, {0, 1, 2})}}),
      WithData("label_out_of_range", {{"x.npy", good}, {"labels.npy", NpyInts({2}, {0, 4})}}),
      WithData("npy_empty_file", {{"x.npy", ""}}),
      WithData("npy_bad_magic", {{"x.npy", "NUMPY" + good}}),
      WithData("npy_truncated_header", {{"x.npy", good.substr(0, 20)}}),
      WithData("npy_truncated_data", {{"x.npy", good.substr(0, good.size() - 1)}}),
      WithData("npy_header_is_code", {{"x.npy", NpyBytes("__import__('os').system('x')", "")}}),
      WithData("npy_shape_overflows",
               {{"x.npy", header("(4611686018427387904, 4611686018427387904)")}}),
      WithData("npy_negative_extent", {{"x.npy", header("(-2, 4)")}}),
      WithData("npy_shape_is_no_tuple", {{"x.npy", header("'many'")}}),
      WithData("npy_pickled_objects", {{"x.npy", header("(2, 4)", "|O")}}),
      WithData("npy_unknown_type", {{"x.npy", header("(2, 4)", "<q9")}}),
      WithData("npz_that_is_no_zip", {{"test.npz", "PK\x03\x04 nothing"}}),
  };
}

}  // namespace modelpress::testing
