// Pooling over one, two or three axes.
//
//   max_pool -> MaxPool; avg_pool -> AveragePool
//   ceil_mode: torch drops a last window that would start in the padding and divides sums by what of a window lies within
//     the padded input. The number of windows is worked out here and the end padded to it; averages are put right by a
//     constant factor for each window, unless padding does not count in them.
//   indices count within a channel (ONNX: within the whole tensor)
//   adaptive_avg_pool -> ReduceMean for one window, AveragePool for equal ones, else a product with a matrix of shares for
//     each axis; adaptive_max_pool -> Gather of each window, then ReduceMax
#include <algorithm>
#include <numeric>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

constexpr int64_t kMost = 1 << 24;

// Kernel, stride, padding and dilation of each axis; ends of the padding that give torch's number of windows.
struct Window {
  int axes = 0;
  Ints kernel, stride, begin, end, dilation;
  Ints in, out;  // extents; in is -1 where it is not known
  bool ceil = false;
};

int AxesOf(OperatorContext& c) {
  const std::string_view name = c.name();
  return name.contains("1d") ? 1 : name.contains("2d") ? 2 : 3;
}

// The input with a batch axis; `*added` tells whether it had none.
std::string Batched(OperatorContext& c, DataType type, int axes, bool* added) {
  const int rank = c.Rank("self");
  *added = rank == axes + 1;
  if (rank != axes + 1 && rank != axes + 2) {
    c.Malformed("its input has another number of axes");
    return "";
  }
  const std::string x = c.InAs("self", type);
  return *added ? c.Unsqueeze(x, {0}) : x;
}

bool Read(OperatorContext& c, Window* window) {
  const int axes = window->axes = AxesOf(c);
  window->kernel = c.Spatial("kernel_size", axes, 1);
  window->stride = c.Spatial("stride", axes, 0);
  window->begin = c.Spatial("padding", axes, 0);
  window->dilation = c.Spatial("dilation", axes, 1);
  window->ceil = c.Bool("ceil_mode", false);
  window->end = window->begin;
  const int rank = c.Rank("self");
  for (size_t i = 0; i < static_cast<size_t>(axes); ++i) {
    if (window->stride[i] == 0) window->stride[i] = window->kernel[i];
    const int64_t k = window->kernel[i], s = window->stride[i], p = window->begin[i],
                  d = window->dilation[i];
    if (k < 1 || s < 1 || p < 0 || d < 1 || k > kMost || s > kMost || p > kMost || d > kMost) {
      c.Malformed("its window is empty or absurd");
      return false;
    }
    const int64_t in = c.Extent("self", rank - axes + static_cast<int64_t>(i)),
                  reach = d * (k - 1) + 1;
    window->in.push_back(in);
    if (in < 0 || in > (int64_t{1} << 40)) {
      window->out.push_back(-1);
      continue;
    }
    const int64_t room = in + 2 * p - reach;
    int64_t out = (window->ceil ? room + s - 1 : room) / s + 1;
    if (window->ceil && (out - 1) * s >= in + p) --out;
    if (room < 0 || out < 1) {
      c.Malformed("its window is larger than its input");
      return false;
    }
    window->out.push_back(out);
    if (window->ceil) window->end[i] = std::max<int64_t>(0, (out - 1) * s + reach - in - p);
  }
  return true;
}

Ints Pads(const Window& window) {
  Ints pads = window.begin;
  pads.insert(pads.end(), window.end.begin(), window.end.end());
  return pads;
}

void MaxPool(OperatorContext& c) {
  Window window;
  if (!Read(c, &window)) return;
  const bool open = window.ceil && std::ranges::contains(window.out, -1);
  const DataType type =
      IsFloating(c.Target().type) ? ComputeType(c.Target().type) : DataType::kDouble;
  bool added = false;
  const std::string x = Batched(c, type, window.axes, &added);
  const bool places = c.output_count() > 1 && c.Wants(1);
  Attributes attributes = {{"kernel_shape", window.kernel},
                           {"strides", window.stride},
                           {"pads", Pads(window)},
                           {"dilations", window.dilation}};
  if (open) attributes.push_back({"ceil_mode", int64_t{1}});
  const Names made = c.builder().AddMany("MaxPool", {x}, std::move(attributes), places ? 2 : 1);
  const auto shaped = [&](const std::string& value) {
    return added ? c.Squeeze(value, {0}) : value;
  };
  c.Out(shaped(made[0]), type, 0);
  if (!places) return;
  int64_t plane = 1;
  for (const int64_t extent : window.in) {
    if (extent < 0)
      return c.Refuse("its indices are read and its extents are not known", "give --input-shape");
    plane *= std::min<int64_t>(extent, kMost);
  }
  c.Out(shaped(c.Add("Mod", {made[1], c.model().Int64(std::max<int64_t>(plane, 1))})),
        DataType::kInt64, 1);
}

// What sums over each window of an axis are divided by.
Ints Divisors(const Window& window, size_t axis, bool with_padding) {
  Ints divisors;
  for (int64_t o = 0; o < window.out[axis]; ++o) {
    const int64_t begin = o * window.stride[axis] - window.begin[axis];
    const int64_t end = std::min(begin + window.kernel[axis], window.in[axis] + window.begin[axis]);
    const int64_t inside = std::min(end, window.in[axis]) - std::max<int64_t>(begin, 0);
    divisors.push_back(std::max<int64_t>(with_padding ? end - begin : inside, 1));
  }
  return divisors;
}

Ints Twice(const Ints& list) {
  Ints twice = list;
  twice.insert(twice.end(), list.begin(), list.end());
  return twice;
}

// Whether ONNX's rounding up gives as many windows as torch's.
bool RoundsUpAlike(const Window& window) {
  for (size_t i = 0; i < window.in.size(); ++i) {
    const int64_t room = window.in[i] + 2 * window.begin[i] - window.kernel[i];
    if ((room + window.stride[i] - 1) / window.stride[i] + 1 != window.out[i]) return false;
  }
  return true;
}

void AveragePool(OperatorContext& c) {
  Window window;
  if (!Read(c, &window)) return;
  const int axes = window.axes;
  const DataType type = FloatOnly(c.Target().type);
  bool added = false, with_padding = c.Bool("count_include_pad", true);
  std::string x = Batched(c, type, window.axes, &added);
  const int64_t divisor = c.Int("divisor_override", 0);
  const bool uneven = window.ceil && window.end != window.begin;
  if (window.ceil && std::ranges::contains(window.out, -1)) {
    return c.Refuse("it rounds up, and its extents are not known before the model runs",
                    "give --input-shape");
  }
  if (uneven && divisor == 0 && (!with_padding || std::ranges::count(window.begin, 0) == axes) &&
      RoundsUpAlike(window)) {
    const std::string y = c.Add("AveragePool", {x},
                                {{"kernel_shape", window.kernel},
                                 {"strides", window.stride},
                                 {"pads", Twice(window.begin)},
                                 {"ceil_mode", int64_t{1}}});
    return c.Out(added ? c.Squeeze(y, {0}) : y, type);
  }
  Ints pads = Pads(window);
  if (uneven) {
    // Of other padding at the end than at the beginning, versions of the runtime make other averages.
    Ints all(2, 0);
    all.insert(all.end(), window.begin.begin(), window.begin.end());
    all.insert(all.end(), 2, 0);
    all.insert(all.end(), window.end.begin(), window.end.end());
    x = c.Add("Pad", {x, c.Ints64(all)});
    pads.assign(pads.size(), 0);
  }
  double size = 1;
  for (const int64_t k : window.kernel) size *= static_cast<double>(k);
  const int64_t count_padding = divisor != 0 || uneven || with_padding ? 1 : 0;
  std::string y = c.Add("AveragePool", {x},
                        {{"kernel_shape", window.kernel},
                         {"strides", window.stride},
                         {"pads", pads},
                         {"count_include_pad", count_padding}});
  if (divisor != 0) {
    y = c.Add("Mul", {y, c.Number(type, size / static_cast<double>(divisor))});
  } else if (uneven) {
    double count = 1;
    for (const int64_t out : window.out) count *= static_cast<double>(out);
    if (!c.Affordable(count)) return;
    std::vector<float> factors = {static_cast<float>(size)};
    for (size_t axis = 0; axis < window.kernel.size(); ++axis) {
      std::vector<float> next;
      for (const float factor : factors) {
        for (const int64_t d : Divisors(window, axis, with_padding))
          next.push_back(factor / static_cast<float>(d));
      }
      factors = std::move(next);
    }
    y = c.Add("Mul", {y, c.Cast(c.model().Floats(factors, window.out), DataType::kFloat, type)});
  }
  c.Out(added ? c.Squeeze(y, {0}) : y, type);
}

// --- adaptive: window i of n is [floor(i * in / n), ceil((i + 1) * in / n))
struct Span {
  int64_t begin, end;
};
std::vector<Span> Spans(int64_t in, int64_t out) {
  std::vector<Span> spans;
  for (int64_t i = 0; i < out; ++i) spans.push_back({i * in / out, ((i + 1) * in + out - 1) / out});
  return spans;
}

// Output extents; -1 where they are the input's.
bool AdaptiveSizes(OperatorContext& c, int axes, Ints* in, Ints* out) {
  const int rank = c.Rank("self");
  const TensorMeta& target = c.Target();
  if (rank < axes + 1 || rank > axes + 2 || target.rank() != rank) {
    c.Malformed("its input has another number of axes");
    return false;
  }
  for (int i = 0; i < axes; ++i) {
    const size_t at = static_cast<size_t>(rank - axes + i);
    in->push_back(c.Meta("self").sizes[at].value.value_or(-1));
    out->push_back(target.sizes[at].value.value_or(-1));
    if (in->back() > kMost || out->back() > kMost || in->back() == 0 || out->back() == 0) {
      c.Malformed("its extents are absurd");
      return false;
    }
  }
  return true;
}

void AdaptiveAverage(OperatorContext& c) {
  const int axes = AxesOf(c), rank = c.Rank("self");
  Ints in, out;
  if (!AdaptiveSizes(c, axes, &in, &out)) return;
  const DataType type = FloatOnly(c.Target().type);
  std::string x = c.InAs("self", type);
  if (std::ranges::all_of(out, [](int64_t extent) { return extent == 1; })) {
    Ints reduced;
    for (int i = 0; i < axes; ++i) reduced.push_back(rank - axes + i);
    return c.Out(c.Add("ReduceMean", {x, c.Ints64(reduced)}, {{"keepdims", int64_t{1}}}), type);
  }
  bool even = true;
  for (size_t i = 0; i < in.size(); ++i) even &= in[i] > 0 && out[i] > 0 && in[i] % out[i] == 0;
  if (even) {
    Ints kernel;
    for (size_t i = 0; i < in.size(); ++i) kernel.push_back(in[i] / out[i]);
    if (rank == axes + 1) x = c.Unsqueeze(x, {0});
    x = c.Add("AveragePool", {x}, {{"kernel_shape", kernel}, {"strides", kernel}});
    return c.Out(rank == axes + 1 ? c.Squeeze(x, {0}) : x, type);
  }
  for (int i = 0; i < axes; ++i) {
    const size_t at = static_cast<size_t>(i);
    if (c.Meta("self").sizes[static_cast<size_t>(rank - axes + i)] ==
        c.Target().sizes[static_cast<size_t>(rank - axes + i)])
      continue;
    if (in[at] < 0 || out[at] < 0) {
      return c.Refuse("its extents are not known before the model runs",
                      "give --input-shape, or pool to 1 x 1");
    }
    if (!c.Affordable(static_cast<double>(in[at]) * static_cast<double>(out[at]))) return;
    // Shares [in, out], multiplied from the right; the axis is put last for it.
    std::vector<float> shares(static_cast<size_t>(in[at] * out[at]), 0);
    const std::vector<Span> spans = Spans(in[at], out[at]);
    for (size_t o = 0; o < spans.size(); ++o) {
      for (int64_t k = spans[o].begin; k < spans[o].end; ++k) {
        shares[static_cast<size_t>(k * out[at]) + o] =
            1.0F / static_cast<float>(spans[o].end - spans[o].begin);
      }
    }
    const std::string matrix =
        c.Cast(c.model().Floats(shares, Ints{in[at], out[at]}), DataType::kFloat, type);
    Ints perm(static_cast<size_t>(rank));
    std::iota(perm.begin(), perm.end(), 0);
    std::swap(perm[static_cast<size_t>(rank - axes + i)], perm.back());
    x = c.builder().Transpose(c.Add("MatMul", {c.builder().Transpose(x, perm), matrix}), perm);
  }
  c.Out(x, type);
}

void AdaptiveMax(OperatorContext& c) {
  const int axes = AxesOf(c), rank = c.Rank("self");
  Ints in, out;
  if (!AdaptiveSizes(c, axes, &in, &out)) return;
  if (std::ranges::contains(in, -1) || std::ranges::contains(out, -1)) {
    return c.Refuse("its extents are not known before the model runs", "give --input-shape");
  }
  const DataType type =
      IsFloating(c.Target().type) ? FloatOnly(c.Target().type) : DataType::kDouble;
  std::string x = c.InAs("self", type);
  // Each axis becomes [out, longest]; windows that are shorter repeat their last element, which changes no maximum.
  Ints longest;
  std::vector<Ints> tables;
  double total = 1;
  for (size_t i = 0; i < in.size(); ++i) {
    const std::vector<Span> spans = Spans(in[i], out[i]);
    int64_t length = 1;
    for (const Span& span : spans) length = std::max(length, span.end - span.begin);
    total *= static_cast<double>(length) * static_cast<double>(out[i]);
    if (!c.Affordable(total)) return;
    Ints table;
    for (const Span& span : spans) {
      for (int64_t k = 0; k < length; ++k) table.push_back(std::min(span.begin + k, span.end - 1));
    }
    const int64_t axis = rank - axes + 2 * static_cast<int64_t>(i);
    x = c.Add("Gather",
              {x, c.model().Constant(DataType::kInt64, Ints{out[i], length},
                                     std::as_bytes(std::span(table)))},
              {{"axis", axis}});
    longest.push_back(length);
    tables.push_back(std::move(table));
  }
  Ints windows, perm;
  for (int i = 0; i < rank - axes; ++i) perm.push_back(i);
  for (int i = 0; i < axes; ++i) {
    windows.push_back(rank - axes + 2 * i + 1);
    perm.push_back(rank - axes + 2 * i);
  }
  c.Out(c.Add("ReduceMax", {x, c.Ints64(windows)}, {{"keepdims", int64_t{0}}}), type, 0);
  if (!c.Wants(1)) return;
  // The place of the largest within its window, looked up in a table of places within the channel.
  for (const int64_t axis : windows) perm.push_back(axis);
  int64_t window_size = 1;
  for (const int64_t length : longest) window_size *= length;
  Ints dims(static_cast<size_t>(rank - axes), 0);
  for (const int64_t extent : out) dims.push_back(extent);
  dims.push_back(window_size);
  const std::string flat =
      c.builder().Reshape(c.builder().Transpose(x, perm), dims, /*copy_zeros=*/true);
  const std::string place =
      c.Add("ArgMax", {flat}, {{"axis", int64_t{-1}}, {"keepdims", int64_t{1}}});
  Ints places = {0};
  Ints place_dims;
  // Row by row: outputs of all axes, then windows of all axes.
  int64_t outputs = 1;
  for (const int64_t extent : out) outputs *= extent;
  places.assign(static_cast<size_t>(outputs * window_size), 0);
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t w = 0; w < window_size; ++w) {
      int64_t rest_o = o, rest_w = w, index = 0, scale = 1;
      for (size_t i = in.size(); i-- > 0;) {
        const int64_t at_o = rest_o % out[i], at_w = rest_w % longest[i];
        rest_o /= out[i];
        rest_w /= longest[i];
        index += scale * tables[i][static_cast<size_t>(at_o * longest[i] + at_w)];
        scale *= in[i];
      }
      places[static_cast<size_t>(o * window_size + w)] = index;
    }
  }
  place_dims = out;
  place_dims.push_back(window_size);
  const std::string table =
      c.model().Constant(DataType::kInt64, place_dims, std::as_bytes(std::span(places)));
  const std::string whole = c.Add("Expand", {table, c.Add("Shape", {flat})});
  c.Out(c.Squeeze(c.Add("GatherElements", {whole, place}, {{"axis", int64_t{-1}}}), {-1}),
        DataType::kInt64, 1);
}

}  // namespace

void RegisterPt2Operators_pooling(OperatorRegistry& registry) {
  registry.Add(
      {"aten.max_pool1d", "aten.max_pool2d", "aten.max_pool3d", "aten.max_pool1d_with_indices",
       "aten.max_pool2d_with_indices", "aten.max_pool3d_with_indices"},
      MaxPool);
  registry.Add({"aten.avg_pool1d", "aten.avg_pool2d", "aten.avg_pool3d"}, AveragePool);
  registry.Add({"aten.adaptive_avg_pool1d", "aten.adaptive_avg_pool2d", "aten.adaptive_avg_pool3d",
                "aten._adaptive_avg_pool2d", "aten._adaptive_avg_pool3d"},
               AdaptiveAverage);
  registry.Add({"aten.adaptive_max_pool1d", "aten.adaptive_max_pool2d", "aten.adaptive_max_pool3d"},
               AdaptiveMax);
}

}  // namespace modelpress::pt2
