// Integers of the graph: extents of tensors, and arithmetic with them. Values are int64 without axes; what the program
// itself knows to be a number is a constant.
//
//   sym_size -> Shape, Gather      sym_numel -> ReduceProd of Shape      item -> Cast
//   _operator.add, mul, floordiv, mod, ... , sym_max, sym_min, comparisons -> the ONNX operator; sym_sum -> ReduceSum
// Divisions round down.
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// Argument number i, whatever its name, as int64 without axes.
std::string Operand(OperatorContext& c, size_t i) {
  if (i >= c.node().inputs.size()) {
    c.Malformed("an argument is missing");
    return "";
  }
  return c.InAs(c.node().inputs[i].first, DataType::kInt64);
}

void SymSize(OperatorContext& c) {
  const int rank = c.Rank("self");
  const int64_t axis = c.Axis("dim", 0, rank);
  if (const int64_t known = c.Extent("self", axis); known >= 0)
    return c.OutScalar(c.model().Int64(known));
  const std::string shape = c.Add("Shape", {c.In("self")}, {{"start", axis}, {"end", axis + 1}});
  c.OutScalar(c.Reshape(shape, Ints{}));
}

void SymNumel(OperatorContext& c) {
  c.OutScalar(c.Add("ReduceProd", {c.ShapeOf("self")}, {{"keepdims", int64_t{0}}}));
}

void Item(OperatorContext& c) {
  const ScalarType type = c.Type("self");
  if (IsFloating(type)) return c.Refuse("it takes a floating number out of a tensor");
  std::string value = c.In("self");
  if (c.Rank("self") > 0) value = c.Reshape(value, Ints{});
  // A truth value stays one.
  c.OutScalar(type == ScalarType::kBool ? value
                                        : c.Cast(value, ToOnnxType(type), DataType::kInt64));
}

void Arithmetic(OperatorContext& c) {
  const std::string& target = c.target();
  const std::string_view name = std::string_view(target).substr(target.rfind('.') + 1);
  if (name == "sym_sum" && c.node().inputs.size() == 1) {
    const std::string all = c.IntVector(c.node().inputs[0].first);
    return c.OutScalar(c.Add("ReduceSum", {all}, {{"keepdims", int64_t{0}}}));
  }
  const std::string a = Operand(c, 0);
  if (name == "neg") return c.OutScalar(c.Add("Neg", {a}));
  if (name == "abs") return c.OutScalar(c.Add("Abs", {a}));
  if (name == "sym_int" || name == "sym_ite" || name == "sym_float") {
    if (name != "sym_int") return c.Refuse("it is not translated");
    return c.OutScalar(a);
  }
  const std::string b = Operand(c, 1);
  const auto out = [&](const char* op) { c.OutScalar(c.Add(op, {a, b})); };
  if (name == "add") return out("Add");
  if (name == "sub") return out("Sub");
  if (name == "mul") return out("Mul");
  if (name == "mod") return out("Mod");
  if (name == "pow") return out("Pow");
  if (name == "floordiv")
    return c.OutScalar(c.Add("Div", {c.Add("Sub", {a, c.Add("Mod", {a, b})}), b}));
  if (name == "sym_max") return out("Max");
  if (name == "sym_min") return out("Min");
  if (name == "eq") return out("Equal");
  if (name == "ne") return c.OutScalar(c.Add("Not", {c.Add("Equal", {a, b})}));
  if (name == "lt") return out("Less");
  if (name == "le") return out("LessOrEqual");
  if (name == "gt") return out("Greater");
  if (name == "ge") return out("GreaterOrEqual");
  c.Refuse("it is not translated");
}

}  // namespace

void RegisterPt2Operators_symbolic(OperatorRegistry& registry) {
  registry.Add("aten.sym_size", SymSize);
  registry.Add("aten.sym_numel", SymNumel);
  registry.Add({"aten._local_scalar_dense", "aten.item"}, Item);
  for (const char* name : {"add", "sub", "mul", "mod", "pow", "floordiv", "neg", "abs", "eq", "ne",
                           "lt", "le", "gt", "ge"}) {
    registry.Add(std::string("_operator.") + name, Arithmetic);
  }
  registry.Add({"torch.sym_max", "torch.sym_min", "torch.sym_int", "torch.sym_sum", "sym_max",
                "sym_min", "sym_sum"},
               Arithmetic);
}

}  // namespace modelpress::pt2
