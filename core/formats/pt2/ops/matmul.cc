// Products of matrices.
//
//   linear of a matrix, addmm -> Gemm (weights stay [out, in])
//   linear of more axes       -> MatMul with the weight transposed: its bytes where nothing else reads it, else a Transpose
//   mm, bmm, matmul, mv, dot  -> MatMul      baddbmm, addbmm, addmv -> MatMul, scaled and added
//   outer, ger, kron -> products of Unsqueezed tensors
#include "core/formats/pt2/operator.h"
#include "core/rewrite/turn_constant.h"

namespace modelpress::pt2 {
namespace {

DataType ProductType(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  return type;
}

bool IsFloat(DataType type) { return type != DataType::kInt32 && type != DataType::kInt64; }

// The transpose of a matrix: of its bytes, if it is a weight that is read once.
std::string Transposed(OperatorContext& c, std::string_view name, DataType type) {
  const Argument* argument = c.Find(name);
  const NamedTensor* weight = argument == nullptr ? nullptr : c.scope().Weight(argument->text);
  const int bits = weight == nullptr ? 0 : BitsPerElement(weight->type);
  if (weight == nullptr || c.scope().Reads(argument->text) != 1 || bits < 8 ||
      weight->dims.size() != 2) {
    return c.builder().Transpose(c.InAs(name, type), {1, 0});
  }
  absl::StatusOr<WeightArena::Room> room = c.model().arena().Allocate(weight->data.length);
  if (!room.ok()) {
    c.Fail(room.status());
    return "";
  }
  TransposeBytes(weight->data.bytes(), weight->dims, Ints{1, 0}, bits / 8, room->bytes);
  absl::StatusOr<std::string> turned = c.model().Weight(
      weight->name, weight->type, Ints{weight->dims[1], weight->dims[0]}, room->weight);
  if (!turned.ok()) {
    c.Fail(turned.status());
    return "";
  }
  return c.Cast(*turned, weight->type, type);
}

void Linear(OperatorContext& c) {
  const DataType type = ProductType(c);
  const std::string x = c.InAs("input", type);
  if (c.Rank("weight") == 1) {
    std::string y = c.Add("MatMul", {x, c.InAs("weight", type)});
    if (c.Has("bias")) y = c.Add("Add", {y, c.InAs("bias", type)});
    return c.Out(y, type);
  }
  if (c.Rank("input") == 2 && IsFloat(type)) {
    Names inputs = {x, c.InAs("weight", type)};
    if (c.Has("bias")) inputs.push_back(c.InAs("bias", type));
    return c.Out(c.Add("Gemm", std::move(inputs), {{"transB", int64_t{1}}}), type);
  }
  std::string y = c.Add("MatMul", {x, Transposed(c, "weight", type)});
  if (c.Has("bias")) y = c.Add("Add", {y, c.InAs("bias", type)});
  c.Out(y, type);
}

std::string Scaled(OperatorContext& c, const std::string& value, std::string_view factor,
                   DataType type) {
  if (!c.Has(factor) || c.Float(factor, 1) == 1) return value;
  return c.Add("Mul", {value, c.InAs(factor, type)});
}

void AddMatrixProduct(OperatorContext& c) {
  const DataType type = ProductType(c);
  const std::string_view name = c.name();
  if (name == "addmm" && IsFloat(type)) {
    const float alpha = static_cast<float>(c.Float("alpha", 1)),
                beta = static_cast<float>(c.Float("beta", 1));
    const Names inputs = {c.InAs("mat1", type), c.InAs("mat2", type), c.InAs("self", type)};
    if (alpha == 1 && beta == 1) return c.Out(c.Add("Gemm", inputs), type);
    return c.Out(c.Add("Gemm", inputs, {{"alpha", alpha}, {"beta", beta}}), type);
  }
  const bool batches = name == "baddbmm" || name == "addbmm";
  const std::string_view first = batches           ? "batch1"
                                 : name == "addmv" ? "mat"
                                 : name == "addr"  ? "vec1"
                                                   : "mat1";
  const std::string_view second = batches           ? "batch2"
                                  : name == "addmv" ? "vec"
                                  : name == "addr"  ? "vec2"
                                                    : "mat2";
  std::string product;
  if (name == "addr") {
    product = c.Add("Mul", {c.Unsqueeze(c.InAs(first, type), {1}), c.InAs(second, type)});
  } else {
    product = c.Add("MatMul", {c.InAs(first, type), c.InAs(second, type)});
  }
  if (name == "addbmm")
    product = c.Add("ReduceSum", {product, c.Ints64({0})}, {{"keepdims", int64_t{0}}});
  product = Scaled(c, product, "alpha", type);
  if (c.Has("beta") && c.Float("beta", 1) == 0) return c.Out(product, type);
  c.Out(c.Add("Add", {Scaled(c, c.InAs("self", type), "beta", type), product}), type);
}

void MatMul(OperatorContext& c) {
  const DataType type = ProductType(c);
  const std::string_view name = c.name();
  const std::string_view other = name == "mm" || name == "bmm" ? "mat2"
                                 : name == "mv"                ? "vec"
                                 : name == "dot"               ? "tensor"
                                                               : "other";
  c.Out(c.Add("MatMul", {c.InAs("self", type), c.InAs(other, type)}), type);
}

void Outer(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  c.Out(c.Add("Mul", {c.Unsqueeze(c.InAs("self", type), {1}), c.InAs("vec2", type)}), type);
}

// Each element of the one with all of the other.
void Kron(OperatorContext& c) {
  const DataType type = ComputeType(c.Target().type);
  const int a = c.Rank("self"), b = c.Rank("other"), rank = std::max(a, b);
  if (!c.Target().is_static() || rank == 0)
    return c.Refuse("its extents are not known before the model runs");
  const auto spread = [&](std::string_view name, int own, bool odd) {
    Ints dims;
    for (int i = 0; i < rank; ++i) {
      const int64_t extent = i < rank - own ? 1 : c.Extent(name, i - (rank - own));
      dims.push_back(odd ? 1 : extent);
      dims.push_back(odd ? extent : 1);
    }
    return c.Reshape(c.InAs(name, type), dims);
  };
  const std::string y = c.Add("Mul", {spread("self", a, false), spread("other", b, true)});
  c.Out(c.Reshape(y, c.Target().dims()), type);
}

}  // namespace

void RegisterPt2Operators_matmul(OperatorRegistry& registry) {
  registry.Add("aten.linear", Linear);
  registry.Add({"aten.addmm", "aten.baddbmm", "aten.addbmm", "aten.addmv", "aten.addr"},
               AddMatrixProduct);
  registry.Add({"aten.mm", "aten.bmm", "aten.matmul", "aten.mv", "aten.dot", "aten.linalg_matmul"},
               MatMul);
  registry.Add({"aten.outer", "aten.ger"}, Outer);
  registry.Add("aten.kron", Kron);
}

}  // namespace modelpress::pt2
