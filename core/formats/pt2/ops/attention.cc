// Scaled dot-product attention: softmax(q k^T * scale + mask) v.
//
//   scale -> 1 / sqrt(E) where it is left out     is_causal -> keys up to the query's own place, counted from the first
//   masks of truth values -> minus infinity added where false (what is NaN stays so, as in torch); others are added
//   rows in which nothing is left give zeros, as in torch's kernels since 2.5     enable_gqa -> each head of keys and values for as many heads of queries
#include <cmath>
#include <limits>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// Heads of [..., heads, length, width] repeated so that there are as many as the queries have.
std::string RepeatHeads(OperatorContext& c, std::string_view name, DataType type) {
  const std::string x = c.InAs(name, type);
  const int rank = c.Rank(name);
  const int64_t heads = c.Extent("query", c.Rank("query") - 3), own = c.Extent(name, rank - 3);
  if (!c.Bool("enable_gqa", false) || heads == own) return x;
  if (heads < 1 || own < 1 || heads % own != 0 || rank != 4) {
    c.Refuse("the numbers of its heads are not known, or not multiples");
    return "";
  }
  const std::string spread = c.Unsqueeze(x, {2});
  const std::string repeated = c.Add("Tile", {spread, c.Ints64({1, 1, heads / own, 1, 1})});
  // [batch, own, times, length, width] -> [batch, heads, length, width]
  const int64_t width = c.Extent(name, 3);
  if (width > 0) return c.builder().Reshape(repeated, {0, heads, -1, width}, /*copy_zeros=*/true);
  const std::string shape = c.Add("Shape", {x}, {{"start", int64_t{2}}});
  return c.Add("Reshape", {repeated, c.Concat({c.Ints64({0, heads}), shape}, 0)});
}

// Where a query may look: true at and below the diagonal of [queries, keys].
std::string CausalMask(OperatorContext& c) {
  const int64_t queries = c.Extent("query", c.Rank("query") - 2),
                keys = c.Extent("key", c.Rank("key") - 2);
  if (queries >= 0 && keys >= 0 && queries <= 4096 && keys <= 4096 && queries * keys <= 4096) {
    std::vector<uint8_t> mask;
    for (int64_t i = 0; i < queries; ++i) {
      for (int64_t j = 0; j < keys; ++j) mask.push_back(j <= i ? 1 : 0);
    }
    return c.model().Constant(DataType::kBool, Ints{queries, keys}, std::as_bytes(std::span(mask)));
  }
  const auto range = [&](std::string_view name) {
    const std::string extent =
        c.Add("Shape", {c.In(name)}, {{"start", int64_t{-2}}, {"end", int64_t{-1}}});
    return c.Add("Range", {c.model().Int64(0), c.Reshape(extent, Ints{}), c.model().Int64(1)});
  };
  return c.Add("GreaterOrEqual",
               {c.Unsqueeze(range("query"), {1}), c.Unsqueeze(range("key"), {0})});
}

void Attention(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  if (c.Float("dropout_p", 0) != 0)
    return c.Refuse("it drops elements at random, as in training",
                    "export the module in eval mode");
  const int rank = c.Rank("query");
  const int64_t width = c.Extent("query", rank - 1);
  if (rank < 2 || c.Rank("key") < 2) return c.Malformed("its tensors have less than two axes");
  if (width < 1 && !c.Has("scale")) return c.Refuse("the width of its heads is not known");
  const double scale =
      c.Float("scale", 1 / std::sqrt(static_cast<double>(std::max<int64_t>(width, 1))));
  const std::string q = c.Add("Mul", {c.InAs("query", type), c.Number(type, scale)});
  const std::string k = RepeatHeads(c, "key", type), v = RepeatHeads(c, "value", type);
  Ints perm;
  const int key_rank = c.Rank("key");
  for (int i = 0; i < key_rank; ++i) perm.push_back(i);
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  std::string scores = c.Add("MatMul", {q, c.builder().Transpose(k, perm)});
  const std::string nothing = c.Number(type, -std::numeric_limits<double>::infinity());
  bool masked = false;
  if (c.Bool("is_causal", false)) scores = c.Add("Where", {CausalMask(c), scores, nothing});
  const std::string_view mask = c.name().contains("efficient") || c.name().contains("cudnn") ||
                                        c.name().contains("overrideable")
                                    ? "attn_bias"
                                    : "attn_mask";
  if (c.Has(mask)) {
    masked = true;
    if (c.Type(mask) == ScalarType::kBool) {
      scores = c.Add("Add", {scores, c.Add("Where", {c.In(mask), c.Number(type, 0), nothing})});
    } else {
      scores = c.Add("Add", {scores, c.InAs(mask, type)});
    }
  }
  std::string weights = c.Add("Softmax", {scores}, {{"axis", int64_t{-1}}});
  // Of a row of minus infinities, Softmax makes NaN. (In other rows the weight of one is 0 anyway, and where a score is NaN
  // the weights of the others do not matter.)
  if (masked)
    weights = c.Add("Where", {c.Add("Equal", {scores, nothing}), c.Number(type, 0), weights});
  c.Out(c.Add("MatMul", {weights, v}), type);
}

}  // namespace

void RegisterPt2Operators_attention(OperatorRegistry& registry) {
  registry.Add(
      {"aten.scaled_dot_product_attention", "aten._scaled_dot_product_flash_attention_for_cpu",
       "aten._scaled_dot_product_attention_math", "aten._scaled_dot_product_flash_attention",
       "aten._scaled_dot_product_efficient_attention", "aten._scaled_dot_product_cudnn_attention",
       "aten._scaled_dot_product_fused_attention_overrideable"},
      Attention);
}

}  // namespace modelpress::pt2
