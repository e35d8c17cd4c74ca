// Other types: to, _to_copy, type_as, float, half, and the like -> Cast to the type that the program says. Floating numbers
// go to narrow integers by way of int32, where they wrap as torch's do. Moving between devices is nothing.
#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

void To(OperatorContext& c) {
  const ScalarType from = c.Type("self");
  const DataType to = c.OutType();
  if (from == c.Target().type) return c.Out(c.In("self"));
  const int bits = BitsPerElement(to);
  const bool narrow = !IsFloating(c.Target().type) && to != DataType::kBool && bits < 32;
  if (IsFloating(from) && narrow) return c.Out(c.InAs("self", DataType::kInt32), DataType::kInt32);
  c.Out(c.InAs("self", to));
}

}  // namespace

void RegisterPt2Operators_cast(OperatorRegistry& registry) {
  registry.Add(
      {"aten.to", "aten._to_copy", "aten.type_as", "aten.float", "aten.half", "aten.double",
       "aten.int", "aten.long", "aten.bool", "aten.bfloat16", "prims.convert_element_type"},
      To);
}

}  // namespace modelpress::pt2
