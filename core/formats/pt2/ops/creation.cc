// Tensors made of nothing but numbers.
//
//   zeros, ones, full, empty (zeros), and their _like and new_ forms -> Expand of a number
//   arange -> a constant up to 1024 elements, else Range      linspace, eye, tril_indices, windows -> constants
// What is random is refused.
#include <cmath>
#include <numbers>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

constexpr int64_t kMostConstant = 1024;

void Filled(OperatorContext& c) {
  const std::string_view name = c.name();
  const DataType type = c.OutType();
  if (type == DataType::kUndefined) return c.Refuse("it is of a type that ONNX does not have");
  const std::string value = name.contains("full")   ? c.InAs("fill_value", type)
                            : name.contains("ones") ? c.Number(type, 1)
                                                    : c.Number(type, 0);
  c.Out(c.Expand(value, c.Target()));
}

void ScalarTensor(OperatorContext& c) { c.Out(c.InAs("s", c.OutType())); }

// A constant of the target's type.
void OutNumbers(OperatorContext& c, const std::vector<double>& values) {
  const TensorMeta& target = c.Target();
  if (!target.is_static()) return c.Refuse("its shape is not known");
  const Ints dims = target.dims();
  const absl::StatusOr<uint64_t> count = ElementCount(dims);
  if (!count.ok() || *count != values.size())
    return c.Malformed("its result has another shape than the program says");
  if (IsFloating(target.type) && target.type != ScalarType::kFloat64) {
    const std::vector<float> floats(values.begin(), values.end());
    return c.Out(c.model().Floats(floats, dims), DataType::kFloat);
  }
  if (target.type == ScalarType::kFloat64) {
    return c.Out(c.model().Constant(DataType::kDouble, dims, std::as_bytes(std::span(values))),
                 DataType::kDouble);
  }
  Ints integers;
  for (const double value : values) integers.push_back(static_cast<int64_t>(value));
  c.Out(c.model().Constant(DataType::kInt64, dims, std::as_bytes(std::span(integers))),
        DataType::kInt64);
}

bool IsNumber(OperatorContext& c, std::string_view name) {
  const Argument* argument = c.Find(name);
  return argument == nullptr || argument->kind == Argument::Kind::kInt ||
         argument->kind == Argument::Kind::kFloat;
}

void Arange(OperatorContext& c) {
  const bool floating = IsFloating(c.Target().type);
  if (IsNumber(c, "start") && IsNumber(c, "end") && IsNumber(c, "step")) {
    const double start = c.Float("start", 0), end = c.Float("end", 0), step = c.Float("step", 1);
    const double count = std::ceil((end - start) / step);
    if (!(step != 0) || !(std::abs(count) < 9e15)) return c.Malformed("its step is 0");
    if (count <= kMostConstant && std::abs(start) < 9e15 && std::abs(end) < 9e15) {
      std::vector<double> values;
      for (double i = 0; i < count; ++i) values.push_back(start + i * step);
      return OutNumbers(c, values);
    }
  }
  const DataType type =
      floating ? (c.Target().type == ScalarType::kFloat64 ? DataType::kDouble : DataType::kFloat)
               : DataType::kInt64;
  const std::string start = c.Has("start") ? c.InAs("start", type) : c.Number(type, 0);
  const std::string step = c.Has("step") ? c.InAs("step", type) : c.Number(type, 1);
  c.Out(c.Add("Range", {start, c.InAs("end", type), step}), type);
}

void Linspace(OperatorContext& c) {
  const double start = c.Float("start", 0), end = c.Float("end", 0);
  const int64_t steps = c.Int("steps", 0);
  if (steps < 0) return c.Malformed("its number of steps is negative");
  if (!c.Affordable(static_cast<double>(steps))) return;
  std::vector<double> values;
  const double step = steps > 1 ? (end - start) / static_cast<double>(steps - 1) : 0;
  for (int64_t i = 0; i < steps; ++i) {
    const double left = static_cast<double>(i), right = static_cast<double>(steps - 1 - i);
    values.push_back(i < (steps + 1) / 2 ? start + left * step : end - right * step);
  }
  if (steps == 1) values[0] = start;
  OutNumbers(c, values);
}

void Eye(OperatorContext& c) {
  const TensorMeta& target = c.Target();
  if (!target.is_static() || target.rank() != 2)
    return c.Refuse("its shape is not known before the model runs");
  const int64_t rows = *target.sizes[0].value, columns = *target.sizes[1].value;
  if (c.Int("n", rows) != rows || c.Int("m", c.Int("n", columns)) != columns)
    return c.Malformed("its result has other extents than its arguments say");
  if (!c.Affordable(static_cast<double>(rows) * static_cast<double>(columns))) return;
  std::vector<double> values(static_cast<size_t>(rows * columns), 0);
  for (int64_t i = 0; i < std::min(rows, columns); ++i)
    values[static_cast<size_t>(i * columns + i)] = 1;
  OutNumbers(c, values);
}

void TriangleIndices(OperatorContext& c) {
  const int64_t rows = c.Int("row", 0), columns = c.Int("col", 0), offset = c.Int("offset", 0);
  const bool lower = c.name() == "tril_indices";
  if (rows < 0 || columns < 0) return c.Malformed("its shape is negative");
  if (!c.Affordable(static_cast<double>(rows) * static_cast<double>(columns))) return;
  std::vector<double> row, column;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      if (lower ? j - i <= offset : j - i >= offset) {
        row.push_back(static_cast<double>(i));
        column.push_back(static_cast<double>(j));
      }
    }
  }
  if (static_cast<int64_t>(row.size()) * 2 != c.Target().dims()[0] * c.Target().dims()[1]) {
    return c.Malformed("its result has another shape");
  }
  row.insert(row.end(), column.begin(), column.end());
  OutNumbers(c, row);
}

// a - b cos(2 pi i / n) + c cos(4 pi i / n)
void Window(OperatorContext& c) {
  const int64_t length = c.Int("window_length", 0);
  if (length < 0 || c.Target().rank() != 1 || c.Target().dims()[0] != length)
    return c.Malformed("its length is not valid");
  if (!c.Affordable(static_cast<double>(length))) return;
  double a = 0.5, b = 0.5, d = 0;
  if (c.name() == "hamming_window") {
    a = c.Float("alpha", 0.54);
    b = c.Float("beta", 0.46);
  } else if (c.name() == "blackman_window") {
    a = 0.42;
    d = 0.08;
  }
  const double period =
      static_cast<double>(c.Bool("periodic", true) ? length : std::max<int64_t>(length - 1, 1));
  std::vector<double> values;
  for (int64_t i = 0; i < length; ++i) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(i) / period;
    values.push_back(length == 1 ? 1 : a - b * std::cos(angle) + d * std::cos(2 * angle));
  }
  OutNumbers(c, values);
}

void Random(OperatorContext& c) {
  c.Refuse("it makes random numbers", "give them to the module as an input");
}

}  // namespace

void RegisterPt2Operators_creation(OperatorRegistry& registry) {
  registry.Add(
      {"aten.zeros", "aten.ones", "aten.full", "aten.empty", "aten.zeros_like", "aten.ones_like",
       "aten.full_like", "aten.empty_like", "aten.new_zeros", "aten.new_ones", "aten.new_full",
       "aten.new_empty", "aten.empty_permuted", "aten.empty_strided", "aten.new_empty_strided"},
      Filled);
  registry.Add("aten.scalar_tensor", ScalarTensor);
  registry.Add("aten.arange", Arange);
  registry.Add("aten.linspace", Linspace);
  registry.Add("aten.eye", Eye);
  registry.Add({"aten.tril_indices", "aten.triu_indices"}, TriangleIndices);
  registry.Add({"aten.hann_window", "aten.hamming_window", "aten.blackman_window"}, Window);
  registry.Add({"aten.rand", "aten.randn", "aten.randint", "aten.rand_like", "aten.randn_like",
                "aten.randint_like", "aten.randperm", "aten.bernoulli", "aten.multinomial",
                "aten.normal", "aten.uniform", "aten.poisson"},
               Random);
}

}  // namespace modelpress::pt2
