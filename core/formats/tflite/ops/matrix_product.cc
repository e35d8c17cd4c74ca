// Products of matrices: FULLY_CONNECTED (versions 1 to 14), BATCH_MATMUL (1 to 5); float32, float weights of 16 bits, int8
// and int4 weights with float activations (scales per tensor, channel or block), int8, uint8, int16 activations.
//
//   FULLY_CONNECTED, weights [out, in]
//     input [n, in]             Gemm(x, w, bias), transB = 1: weights stay as they lie
//     keep_num_dims             MatMul(x, w turned), Add bias
//     other ranks               Reshape to [-1, in] first
//     integer weights and float input inside of a loop: the input goes through the codes that the source makes of it
//   BATCH_MATMUL -> MatMul, with Transposes for adj_x and adj_y (of constants: done once, here)
#include <algorithm>
#include <limits>
#include <numeric>

#include "core/formats/tflite/operator.h"

namespace modelpress::tflite {
namespace {

// Rows of x as LiteRT's kernels for float inputs and integer weights see them: they quantize each row to int8 while they
// run, symmetrically (scale max|x| / 127) or not (scale (max - min) / 255 of the range with 0 in it); section "hybrid" of
// tensorflow/lite/kernels/internal/reference/portable_tensor_utils.cc.
std::string QuantizedRows(OperatorContext& c, const std::string& x, bool asymmetric) {
  import::ModelBuilder& model = c.model();
  const std::vector<int64_t>& shape = c.Source(0).shape;
  const bool one_row =
      c.Source(0).is_static() && !shape.empty() &&
      std::all_of(shape.begin(), shape.end() - 1, [](int64_t extent) { return extent == 1; });
  if (asymmetric && one_row) {
    const Names codes = c.builder().AddMany("DynamicQuantizeLinear", {x}, {}, 3);
    return c.Add("DequantizeLinear", codes);
  }
  const std::string last = model.Int64s({-1}), zero = model.Float(0);
  const std::string least = model.Float(std::numeric_limits<float>::min());
  const auto scale = [&](const std::string& range, float steps) {
    return c.Add("Max", {c.Add("Mul", {range, model.Float(1 / steps)}), least});
  };
  if (!asymmetric) {
    const std::string step = scale(c.Add("ReduceMax", {c.Add("Abs", {x}), last}), 127);
    return c.Add("Mul", {c.Add("Round", {c.Add("Div", {x, step})}), step});
  }
  const std::string low = c.Add("Min", {c.Add("ReduceMin", {x, last}), zero}),
                    high = c.Add("Max", {c.Add("ReduceMax", {x, last}), zero});
  const std::string step = scale(c.Add("Sub", {high, low}), 255);
  const std::string origin =
      c.Add("Round", {c.Add("Sub", {model.Float(-128), c.Add("Div", {low, step})})});
  const std::string code = c.Add("Round", {c.Add("Add", {c.Add("Div", {x, step}), origin})});
  const std::string held = c.Add("Clip", {code, model.Float(-128), model.Float(127)});
  return c.Add("Mul", {c.Add("Sub", {held, origin}), step});
}

absl::Status FullyConnected(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const auto& options = c.Options<schema::FullyConnectedOptions>();
  if (options.weights_format() != schema::FullyConnectedWeightsFormat::DEFAULT) {
    return c.Unsupported("its weights are shuffled for one kind of processor",
                         "convert the model without that option");
  }
  MP_ASSIGN_OR_RETURN(const int weight_rank, c.KnownRank(1));
  const auto& w = c.Source(1).shape;
  if (weight_rank != 2 || w[0] < 1 || w[1] < 1)
    return c.Unsupported("its weights are no matrix of known shape");
  MP_ASSIGN_OR_RETURN(std::string x, c.In(0));
  // Only where errors come back as inputs: elsewhere real inputs are as good, with fewer nodes.
  if (c.conversion().loops > 0 && IsQuantized(c.Source(1)) &&
      c.Source(0).type == TensorType::FLOAT32) {
    x = QuantizedRows(c, x, options.asymmetric_quantize_inputs());
  }
  MP_ASSIGN_OR_RETURN(const std::string bias, c.Bias(2, 0, 1));
  const int rank = c.Rank(0);
  const int weight = c.op().inputs[1];
  std::string y;
  if (options.keep_num_dims() && rank != 2) {
    // The last axis may be cut differently from what the weights take.
    if (rank > 0 && c.Source(0).shape[rank - 1] > 0 && c.Source(0).shape[rank - 1] != w[1]) {
      return c.Malformed("the last axis of its input is not that of its weights");
    }
    MP_ASSIGN_OR_RETURN(const std::string turned, c.scope().Permuted(weight, {1, 0}));
    y = c.Add("MatMul", {x, turned});
    if (!bias.empty()) y = c.Add("Add", {y, bias});
  } else {
    if (rank != 2 || (c.Source(0).shape[1] > 0 && c.Source(0).shape[1] != w[1])) {
      x = c.builder().Reshape(x, {-1, w[1]});
    }
    MP_ASSIGN_OR_RETURN(const std::string matrix, c.In(1));
    y = c.Add("Gemm", {x, matrix, bias}, {{"transB", int64_t{1}}});
  }
  MP_ASSIGN_OR_RETURN(y, c.Activate(y, options.fused_activation_function()));
  // The output may be declared with other axes of the same elements.
  const bool kept = options.keep_num_dims() && rank != 2;
  if (!kept && c.Target().has_shape && c.Target().shape.size() != 2) {
    if (const auto shape = c.TargetShape(0, 1)) y = c.builder().Reshape(y, *shape);
  }
  return c.Out(0, y);
}

absl::StatusOr<std::string> Operand(OperatorContext& c, int i, bool adjoint) {
  if (!adjoint) return c.In(i);
  MP_ASSIGN_OR_RETURN(const int rank, c.KnownRank(i));
  if (rank < 2) return c.Malformed("its input is no matrix");
  std::vector<int64_t> perm(rank);
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[rank - 1], perm[rank - 2]);
  return c.scope().Permuted(c.op().inputs[i], perm);
}

absl::Status BatchMatMul(OperatorContext& c) {
  MP_RETURN_IF_ERROR(c.Expect(2, 1));
  const auto& options = c.Options<schema::BatchMatMulOptions>();
  MP_ASSIGN_OR_RETURN(const std::string a, Operand(c, 0, options.adj_x()));
  MP_ASSIGN_OR_RETURN(const std::string b, Operand(c, 1, options.adj_y()));
  const DataType type = c.RealType(c.Source(0));
  return c.Out(0, c.Add("MatMul", {a, b}), type);
}

}  // namespace

void RegisterTfliteOperators_matrix_product(OperatorRegistry& registry) {
  registry.Add(BuiltinOperator::FULLY_CONNECTED, FullyConnected);
  registry.Add(BuiltinOperator::BATCH_MATMUL, BatchMatMul);
}

}  // namespace modelpress::tflite
