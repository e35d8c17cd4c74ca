// Tensors made of nothing but numbers.
//
//   zeros, ones, full, empty (zeros), and their _like and new_ forms -> a constant up to 1024 elements, else Expand of a number
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
  if (name.contains("zeros")) c.MarkZeros();
  c.Out(c.Target().rank() == 0 ? value : c.Expand(value, c.Target()));
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
    // range has its end too.
    const double count = c.name() == "range" ? std::floor((end - start) / step) + 1
                                             : std::ceil((end - start) / step);
    if (!(step != 0) || !(std::abs(count) < 9e15)) return c.Malformed("its step is 0");
    if (count <= kMostConstant && std::abs(start) < 9e15 && std::abs(end) < 9e15) {
      std::vector<double> values;
      for (double i = 0; i < count; ++i) values.push_back(start + i * step);
      return OutNumbers(c, values);
    }
  }
  if (c.name() == "range") return c.Refuse("it has more than 1024 elements, or a computed end");
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
  if (c.name() == "logspace") {
    const double base = c.Float("base", 10);
    for (double& value : values) value = std::pow(base, value);
  }
  OutNumbers(c, values);
}

// Places of the results of a Fourier transform: i / (n d), the upper half negative unless it is left out.
void Frequencies(OperatorContext& c) {
  const int64_t size = c.Int("n", 0);
  const double step = c.Float("d", 1);
  if (size < 1 || !(step != 0)) return c.Malformed("its size or step is 0");
  if (!c.Affordable(static_cast<double>(size))) return;
  const bool half = c.name() == "fft_rfftfreq";
  std::vector<double> values;
  for (int64_t i = 0; i < (half ? size / 2 + 1 : size); ++i) {
    const int64_t place = half || i < (size + 1) / 2 ? i : i - size;
    values.push_back(static_cast<double>(place) / (static_cast<double>(size) * step));
  }
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
  const double beta_limit = c.name() == "kaiser_window" ? c.Float("beta", 12) : 0;
  if (!(std::abs(beta_limit) < 700)) return c.Refuse("its beta is too large");
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
  if (c.name() == "bartlett_window" || c.name() == "kaiser_window") {
    const double beta = c.Float("beta", 12), half = period / 2;
    for (int64_t i = 0; i < length; ++i) {
      const double place = (static_cast<double>(i) - half) / half;  // -1 .. 1
      const double kaiser =
          std::cyl_bessel_i(0, beta * std::sqrt(std::max(0.0, 1 - place * place))) /
          std::cyl_bessel_i(0, beta);
      const double value = c.name() == "kaiser_window" ? kaiser : 1 - std::abs(place);
      values.push_back(length == 1 ? 1 : value);
    }
    return OutNumbers(c, values);
  }
  for (int64_t i = 0; i < length; ++i) {
    const double angle = 2 * std::numbers::pi * static_cast<double>(i) / period;
    values.push_back(length == 1 ? 1 : a - b * std::cos(angle) + d * std::cos(2 * angle));
  }
  OutNumbers(c, values);
}

void Random(OperatorContext& c) {
  if (!c.Wants(0)) return;  // what modules draw for training and do not use
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
  registry.Add({"aten.arange", "aten.range"}, Arange);
  registry.Add({"aten.linspace", "aten.logspace"}, Linspace);
  registry.Add({"aten.fft_fftfreq", "aten.fft_rfftfreq"}, Frequencies);
  registry.Add("aten.eye", Eye);
  registry.Add({"aten.tril_indices", "aten.triu_indices"}, TriangleIndices);
  registry.Add({"aten.hann_window", "aten.hamming_window", "aten.blackman_window",
                "aten.bartlett_window", "aten.kaiser_window"},
               Window);
  registry.Add({"aten.rand", "aten.randn", "aten.randint", "aten.rand_like", "aten.randn_like",
                "aten.randint_like", "aten.randperm", "aten.bernoulli", "aten.multinomial",
                "aten.normal", "aten.uniform", "aten.poisson"},
               Random);
}

}  // namespace modelpress::pt2
