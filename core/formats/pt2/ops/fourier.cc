// Fourier transforms; complex numbers have their parts on a last axis of two.
//
//   fft_rfft, fft_fft, fft_ifft -> DFT, where they cut or pad a product with a matrix of cosines and sines
//   fft_irfft -> MatMul      those over several axes -> DFT along each, MatMul where the result is real
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

// The transform of complex numbers along an axis, by DFT, whose inverse divides by the size. Real ones have a last axis of
// one.
std::string Along(OperatorContext& c, const std::string& x, int64_t axis, bool inverse,
                  bool onesided = false) {
  Attributes attributes;
  if (inverse) attributes.push_back({"inverse", int64_t{1}});
  if (onesided) attributes.push_back({"onesided", int64_t{1}});
  return c.Add("DFT", {x, "", c.model().Int64(axis)}, std::move(attributes));
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
  if (!real_out && size == extent && type == DataType::kFloat) {
    const bool onesided = name == "fft_rfft";
    std::string y = Along(c, real_in ? c.Unsqueeze(x, {-1}) : x, axis, inverse, onesided);
    const double left = inverse ? factor * static_cast<double>(size) : factor;
    if (std::abs(left - 1) > 1e-12) y = c.Add("Mul", {y, c.Number(type, left)});
    return c.Out(y, type);
  }
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

// What the result is multiplied by, for `mode` 0 (as it is), 1 (by the root of the size), 2 (by the size); `divided`:
// it has been divided by the size already.
std::string Normalized(OperatorContext& c, const std::string& x, double size, int64_t mode,
                       bool divided, DataType type) {
  double factor = mode == 0 ? 1 : mode == 1 ? 1 / std::sqrt(size) : 1 / size;
  if (divided) factor *= size;
  // 1 but for rounding
  return std::abs(factor - 1) < 1e-12 ? x : c.Add("Mul", {x, c.Number(type, factor)});
}

// The product of extents; negative where one is not known.
double SizeOf(OperatorContext& c, const Ints& axes) {
  double size = 1;
  for (const int64_t axis : axes) {
    const int64_t extent = c.Extent("self", axis);
    if (extent < 1) return -1;
    size *= static_cast<double>(extent);
  }
  return size;
}

// [.., k, ..] complex to real of `size` elements along the axis: only the first half of the numbers is there. As the sum
// of cosines and sines; not divided.
std::string RealInverse(OperatorContext& c, const std::string& x, int64_t axis, int rank,
                        int64_t extent, int64_t size, DataType type) {
  const int64_t rows = std::min(extent, size / 2 + 1);
  std::vector<double> cosines, sines;
  for (int64_t k = 0; k < rows; ++k) {
    // Elements but the first (and the middle one of an even size) stand for their mirror images too.
    const bool single = k == 0 || 2 * k == size;
    for (int64_t n = 0; n < size; ++n) {
      const double angle =
          2 * std::numbers::pi * static_cast<double>((n * k) % size) / static_cast<double>(size);
      cosines.push_back((single ? 1 : 2) * std::cos(angle));
      sines.push_back(single ? 0 : -2 * std::sin(angle));
    }
  }
  const auto product = [&](int64_t part, const std::vector<double>& table) {
    std::string y = Swapped(c, Part(c, x, part), axis, rank);
    if (rows < extent) y = c.Slice(y, rank - 1, 0, rows);
    const std::vector<float> floats(table.begin(), table.end());
    return c.Add("MatMul",
                 {y, c.Cast(c.model().Floats(floats, Ints{rows, size}), DataType::kFloat, type)});
  };
  return Swapped(c, c.Add("Add", {product(0, cosines), product(1, sines)}), axis, rank);
}

DataType PartType(OperatorContext& c) {
  const ScalarType type = c.Target().type;
  return type == ScalarType::kComplex128 || type == ScalarType::kFloat64 ? DataType::kDouble
                                                                         : DataType::kFloat;
}

// Axes in the order that they are given in.
Ints Dimensions(OperatorContext& c, Ints otherwise) {
  Ints axes = c.Has("dim") ? c.IntList("dim") : std::move(otherwise);
  const int rank = c.Rank("self");
  for (int64_t& axis : axes) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) {
      c.Malformed("its axes do not exist");
      return {};
    }
  }
  return axes;
}

// Transforms over several axes: fft2, fftn, rfft2, ..., and those that decompositions end in (_fft_c2c, _fft_r2c, _fft_c2r).
void OverAxes(OperatorContext& c) {
  const std::string_view name = c.name();
  const bool primitive = name.starts_with("_fft");
  const bool real_in = name == "_fft_r2c" || name.starts_with("fft_rfft"),
             real_out = name == "_fft_c2r" || name.starts_with("fft_irfft");
  const bool inverse = primitive ? (real_out || (name == "_fft_c2c" && !c.Bool("forward", true)))
                                 : name.starts_with("fft_i");
  const int rank = c.Rank("self");
  Ints all(static_cast<size_t>(rank));
  std::iota(all.begin(), all.end(), 0);
  Ints axes = Dimensions(c, name.ends_with('2') && !primitive ? Ints{-2, -1} : all);
  if (!c.ok() || axes.empty()) return c.Refuse("it transforms over no axes");
  const DataType type = PartType(c);
  std::string x = c.InAs("self", type);
  const int64_t last = axes.back();
  int64_t last_size = c.Target().rank() == rank
                          ? c.Target().sizes[static_cast<size_t>(last)].value.value_or(-1)
                          : -1;
  if (const Ints sizes = c.Has("s") ? c.IntList("s") : Ints{}; !sizes.empty()) {
    if (sizes.size() != axes.size())
      return c.Refuse("it has sizes for other axes than it transforms");
    for (size_t i = 0; i < sizes.size(); ++i) {
      const bool shown = real_out && i + 1 == sizes.size();
      if (!shown && sizes[i] != c.Extent("self", axes[i]))
        return c.Refuse("it cuts or pads its input", "do so before it");
    }
  }
  double size = SizeOf(c, axes);
  if (real_out && size > 0)
    size = size / static_cast<double>(c.Extent("self", last)) * static_cast<double>(last_size);
  if (!(size > 0) || (real_out && last_size < 1))
    return c.Refuse("the extents of its axes are not known before the model runs",
                    "give --input-shape");
  int64_t mode = 0;
  if (primitive) {
    mode = c.Int("normalization", 0);
  } else {
    const std::string norm = c.Text("norm", "backward");
    mode = norm == "ortho" ? 1 : (norm == "backward") == inverse ? 2 : 0;
  }
  if (!real_in && IsComplex(c.Type("self")) == false) x = c.Unsqueeze(x, {-1});
  if (real_in) x = c.Unsqueeze(x, {-1});
  Ints others(axes.begin(), axes.end() - (real_in || real_out ? 1 : 0));
  if (real_in) x = Along(c, x, last, false, c.Bool("onesided", true));
  for (const int64_t axis : others) x = Along(c, x, axis, inverse);
  if (!real_out) return c.Out(Normalized(c, x, size, mode, inverse, type), type);
  // Divided by what the other axes have.
  const int64_t extent = c.Extent("self", last);
  if (!c.Affordable(static_cast<double>(extent) * static_cast<double>(last_size))) return;
  x = RealInverse(c, x, last, rank, extent, last_size, type);
  double factor = mode == 0 ? 1 : mode == 1 ? 1 / std::sqrt(size) : 1 / size;
  factor *= size / static_cast<double>(last_size);
  c.Out(c.Add("Mul", {x, c.Number(type, factor)}), type);
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
  registry.Add({"aten.fft_fft2", "aten.fft_ifft2", "aten.fft_fftn", "aten.fft_ifftn",
                "aten.fft_rfft2", "aten.fft_rfftn", "aten.fft_irfft2", "aten.fft_irfftn",
                "aten._fft_c2c", "aten._fft_r2c", "aten._fft_c2r"},
               OverAxes);
  registry.Add({"aten.real", "aten.imag"}, Parts);
  registry.Add({"aten.conj", "aten._conj", "aten.conj_physical"}, Conjugate);
  registry.Add({"aten.complex", "aten.polar"}, Compose);
}

}  // namespace modelpress::pt2
