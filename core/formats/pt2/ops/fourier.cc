// Fourier transforms along the last or a given axis, as products with matrices of cosines and sines; complex numbers have
// their parts on a last axis of two.
//
//   fft_rfft, fft_fft, fft_ifft, fft_irfft -> MatMul      stft -> Gather of the frames, times the window, MatMul
//   real, imag, complex, conj, angle       -> Gather, Concat, and their formulas
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

// cos and sin of 2 pi k n / size over [n rows, k columns], times factor.
std::string Table(OperatorContext& c, int64_t rows, int64_t columns, int64_t size, bool sine,
                  double factor, DataType type) {
  std::vector<double> values;
  values.reserve(static_cast<size_t>(rows * columns));
  for (int64_t n = 0; n < rows; ++n) {
    for (int64_t k = 0; k < columns; ++k) {
      const double angle =
          2 * std::numbers::pi * static_cast<double>((n * k) % size) / static_cast<double>(size);
      values.push_back(factor * (sine ? std::sin(angle) : std::cos(angle)));
    }
  }
  const Ints dims = {rows, columns};
  if (type == DataType::kDouble)
    return c.model().Constant(type, dims, std::as_bytes(std::span(values)));
  const std::vector<float> floats(values.begin(), values.end());
  return c.Cast(c.model().Floats(floats, dims), DataType::kFloat, type);
}

double Norm(const std::string& norm, int64_t size, bool inverse) {
  const double n = static_cast<double>(size);
  if (norm == "ortho") return 1 / std::sqrt(n);
  if (norm == "forward") return inverse ? 1 : 1 / n;
  return inverse ? 1 / n : 1;
}

std::string Part(OperatorContext& c, const std::string& x, int64_t i) {
  return c.Add("Gather", {x, c.model().Int64(i)}, {{"axis", int64_t{-1}}});
}

std::string Join(OperatorContext& c, const std::string& real, const std::string& imaginary) {
  return c.Concat({c.Unsqueeze(real, {-1}), c.Unsqueeze(imaginary, {-1})}, -1);
}

// The axis last, and back.
std::string Swapped(OperatorContext& c, const std::string& x, int64_t axis, int rank) {
  Ints perm(static_cast<size_t>(rank));
  std::iota(perm.begin(), perm.end(), 0);
  std::swap(perm[static_cast<size_t>(axis)], perm.back());
  return c.builder().Transpose(x, perm);
}

void Transform(OperatorContext& c) {
  const std::string_view name = c.name();
  const bool real_in = !IsComplex(c.Type("self")), real_out = name == "fft_irfft";
  const bool inverse = name.contains("ifft") || name.contains("irfft");
  const DataType type =
      c.Target().type == ScalarType::kComplex128 || c.Target().type == ScalarType::kFloat64
          ? DataType::kDouble
          : DataType::kFloat;
  const int rank = c.Rank("self");
  const int64_t axis = c.Axis("dim", -1, rank), extent = c.Extent("self", axis);
  const int64_t given = c.Int("n", -1);
  if (extent < 0 || rank < 1)
    return c.Refuse("the extent of its axis is not known before the model runs",
                    "give --input-shape");
  const int64_t size = given > 0 ? given : real_out ? 2 * (extent - 1) : extent;
  const int64_t columns = name == "fft_rfft" ? size / 2 + 1 : size;
  if (size < 1 || size > (1 << 20) ||
      !c.Affordable(static_cast<double>(size) * static_cast<double>(size)))
    return c.Malformed("its size is not valid");
  const double factor = Norm(c.Text("norm", "backward"), size, inverse);
  const std::string x = c.InAs("self", type);
  std::string real = real_in ? x : Part(c, x, 0), imaginary = real_in ? "" : Part(c, x, 1);
  // What is beyond the size is cut; what is missing is zero, and so needs no rows.
  int64_t rows = std::min(extent, size);
  if (real_out) rows = std::min(extent, size / 2 + 1);
  const auto prepared = [&](const std::string& part) {
    std::string y = Swapped(c, part, axis, rank);
    return rows < extent ? c.Slice(y, rank - 1, 0, rows) : y;
  };
  real = prepared(real);
  if (!imaginary.empty()) imaginary = prepared(imaginary);
  if (real_out) {
    // Elements but the first (and the middle one of an even size) stand for their mirror images too.
    std::vector<double> cosines, sines;
    for (int64_t k = 0; k < rows; ++k) {
      const bool single = k == 0 || 2 * k == size;
      for (int64_t n = 0; n < size; ++n) {
        const double angle =
            2 * std::numbers::pi * static_cast<double>((n * k) % size) / static_cast<double>(size);
        cosines.push_back((single ? 1 : 2) * factor * std::cos(angle));
        sines.push_back(single ? 0 : -2 * factor * std::sin(angle));
      }
    }
    const auto table = [&](const std::vector<double>& values) {
      const std::vector<float> floats(values.begin(), values.end());
      return c.Cast(c.model().Floats(floats, Ints{rows, size}), DataType::kFloat, type);
    };
    std::string y = c.Add("MatMul", {real, table(cosines)});
    if (!imaginary.empty()) y = c.Add("Add", {y, c.Add("MatMul", {imaginary, table(sines)})});
    return c.Out(Swapped(c, y, axis, rank), type);
  }
  const std::string cosine = Table(c, rows, columns, size, false, factor, type);
  const std::string sine = Table(c, rows, columns, size, true, inverse ? factor : -factor, type);
  std::string y_real = c.Add("MatMul", {real, cosine}), y_imaginary = c.Add("MatMul", {real, sine});
  if (!imaginary.empty()) {
    y_real = c.Add("Sub", {y_real, c.Add("MatMul", {imaginary, sine})});
    y_imaginary = c.Add("Add", {y_imaginary, c.Add("MatMul", {imaginary, cosine})});
  }
  c.Out(Join(c, Swapped(c, y_real, axis, rank), Swapped(c, y_imaginary, axis, rank)), type);
}

void Stft(OperatorContext& c) {
  if (c.Bool("center", false))
    return c.Refuse("it pads its input itself", "call it with center=False on a padded signal");
  const DataType type = DataType::kFloat;
  const int rank = c.Rank("self");
  const int64_t size = c.Int("n_fft", 0), hop = c.Int("hop_length", std::max<int64_t>(size / 4, 1));
  const int64_t length = c.Int("win_length", size), extent = c.Extent("self", rank - 1);
  if (rank < 1 || rank > 2 || IsComplex(c.Type("self"))) return c.Refuse("its input is complex");
  if (extent < 0)
    return c.Refuse("the length of its signal is not known before the model runs",
                    "give --input-shape");
  if (size < 1 || size > extent || size > (1 << 14) || hop < 1 || length < 1 || length > size)
    return c.Malformed("its frames do not fit its signal");
  const bool onesided = c.Bool("onesided", true);
  const int64_t frames = (extent - size) / hop + 1, columns = onesided ? size / 2 + 1 : size;
  if (!c.Affordable(static_cast<double>(frames) * static_cast<double>(size)) ||
      !c.Affordable(static_cast<double>(size) * static_cast<double>(columns))) {
    return;
  }
  Ints table;
  for (int64_t f = 0; f < frames; ++f) {
    for (int64_t n = 0; n < size; ++n) table.push_back(f * hop + n);
  }
  std::string x = c.Add(
      "Gather",
      {c.InAs("self", type),
       c.model().Constant(DataType::kInt64, Ints{frames, size}, std::as_bytes(std::span(table)))},
      {{"axis", int64_t{-1}}});
  if (c.Has("window")) {
    std::string window = c.InAs("window", type);
    const int64_t left = (size - length) / 2;
    if (length < size) window = c.Add("Pad", {window, c.Ints64({left, size - length - left})});
    x = c.Add("Mul", {x, window});
  }
  const double factor = c.Bool("normalized", false) ? 1 / std::sqrt(static_cast<double>(size)) : 1;
  const std::string real = c.Add("MatMul", {x, Table(c, size, columns, size, false, factor, type)});
  const std::string imaginary =
      c.Add("MatMul", {x, Table(c, size, columns, size, true, -factor, type)});
  // [batch, frames, bins] -> [batch, bins, frames, 2]
  const Ints perm = rank == 2 ? Ints{0, 2, 1} : Ints{1, 0};
  c.Out(Join(c, c.builder().Transpose(real, perm), c.builder().Transpose(imaginary, perm)), type);
}

void Parts(OperatorContext& c) {
  const std::string_view name = c.name();
  const std::string x = c.In("self");
  if (!IsComplex(c.Type("self"))) {
    if (name == "imag") return c.Refuse("its input is not complex");
    return c.Out(x);
  }
  c.Out(Part(c, x, name == "real" ? 0 : 1));
}

void Conjugate(OperatorContext& c) {
  const std::string x = c.In("self");
  if (!IsComplex(c.Type("self"))) return c.Out(x);
  c.Out(Join(c, Part(c, x, 0), c.Add("Neg", {Part(c, x, 1)})));
}

void Compose(OperatorContext& c) {
  const DataType type = c.OutType();
  if (c.name() == "complex")
    return c.Out(Join(c, c.InAs("real", type), c.InAs("imag", type)), type);
  const std::string size = c.InAs("abs", type), angle = c.InAs("angle", type);
  c.Out(Join(c, c.Add("Mul", {size, c.Add("Cos", {angle})}),
             c.Add("Mul", {size, c.Add("Sin", {angle})})),
        type);
}

}  // namespace

void RegisterPt2Operators_fourier(OperatorRegistry& registry) {
  registry.Add({"aten.fft_rfft", "aten.fft_fft", "aten.fft_ifft", "aten.fft_irfft"}, Transform);
  registry.Add("aten.stft", Stft);
  registry.Add({"aten.real", "aten.imag"}, Parts);
  registry.Add({"aten.conj", "aten._conj", "aten.conj_physical"}, Conjugate);
  registry.Add({"aten.complex", "aten.polar"}, Compose);
}

}  // namespace modelpress::pt2
