// Fourier transforms of the frames of a signal.
//
//   stft  -> (Pad where it centers,) Gather of the frames, times the window, DFT along the axis of the frame
//   istft -> ConvTranspose with the window times cosines and sines, which transforms each frame back and adds the frames
//     where they overlap; divided by the sum of the squared windows, which ConvTranspose of ones makes
// Frames need a signal of known length.
#include <cmath>
#include <numbers>

#include "core/formats/pt2/operator.h"

namespace modelpress::pt2 {
namespace {

struct Frames {
  int64_t size = 0, hop = 0, window = 0;  // elements
};

bool Read(OperatorContext& c, Frames* frames) {
  frames->size = c.Int("n_fft", 0);
  frames->hop = c.Int("hop_length", std::max<int64_t>(frames->size / 4, 1));
  frames->window = c.Int("win_length", frames->size);
  if (frames->size < 1 || frames->size > (1 << 14) || frames->hop < 1 || frames->hop > (1 << 24) ||
      frames->window < 1 || frames->window > frames->size) {
    c.Malformed("its frames are empty or absurd");
    return false;
  }
  return true;
}

// The window in the middle of a frame; "" where there is none and it is as long as a frame: then it is of ones.
std::string Window(OperatorContext& c, const Frames& frames) {
  std::string window;
  if (c.Has("window")) {
    window = c.InAs("window", DataType::kFloat);
  } else if (frames.window < frames.size) {
    window = c.Expand(c.Number(DataType::kFloat, 1), {.sizes = {{.value = frames.window}}});
  }
  const int64_t left = (frames.size - frames.window) / 2;
  if (frames.window == frames.size) return window;
  return c.Add("Pad", {window, c.Ints64({left, frames.size - frames.window - left})});
}

void Stft(OperatorContext& c) {
  const int rank = c.Rank("self");
  Frames frames;
  if (!Read(c, &frames)) return;
  if (rank < 1 || rank > 2 || IsComplex(c.Type("self"))) return c.Refuse("its input is complex");
  int64_t extent = c.Extent("self", rank - 1);
  if (extent < 0)
    return c.Refuse("the length of its signal is not known before the model runs",
                    "give --input-shape");
  constexpr int64_t kMostSamples = int64_t{1} << 40;
  if (extent > kMostSamples) return c.Malformed("its signal is absurd");
  const int64_t size = frames.size;
  std::string x = c.InAs("self", DataType::kFloat);
  if (rank == 1) x = c.Unsqueeze(x, {0});
  if (c.overload() == "center" && c.Bool("center", true)) {
    std::string mode = c.Text("pad_mode", "reflect");
    if (mode == "replicate") mode = "edge";
    if (mode == "circular") mode = "wrap";
    if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap")
      return c.Refuse("its padding is not known");
    const int64_t pad = size / 2;
    x = c.Add("Pad", {x, c.Ints64({0, pad, 0, pad})}, {{"mode", mode}});
    extent += 2 * pad;
  }
  if (size > extent) return c.Malformed("its frames do not fit its signal");
  const int64_t count = (extent - size) / frames.hop + 1;
  if (!c.Affordable(static_cast<double>(count) * static_cast<double>(size))) return;
  // Places of [frame's element, frame, 1]: bins come before frames in the result.
  Ints table;
  for (int64_t n = 0; n < size; ++n) {
    for (int64_t f = 0; f < count; ++f) table.push_back(f * frames.hop + n);
  }
  x = c.Add("Gather",
            {x, c.model().Constant(DataType::kInt64, Ints{size, count, 1},
                                   std::as_bytes(std::span(table)))},
            {{"axis", int64_t{1}}});
  if (const std::string window = Window(c, frames); !window.empty())
    x = c.Add("Mul", {x, c.Reshape(window, Ints{size, 1, 1})});
  Attributes attributes;
  if (c.Bool("onesided", true)) attributes.push_back({"onesided", int64_t{1}});
  std::string y = c.Add("DFT", {x, "", c.model().Int64(1)}, std::move(attributes));
  if (c.Bool("normalized", false)) {
    y = c.Add("Mul", {y, c.Number(DataType::kFloat, 1 / std::sqrt(static_cast<double>(size)))});
  }
  c.Out(rank == 1 ? c.Squeeze(y, {0}) : y, DataType::kFloat);
}

void InverseStft(OperatorContext& c) {
  const int rank = c.Rank("self");
  Frames frames;
  if (!Read(c, &frames)) return;
  if (rank < 2 || rank > 3 || !IsComplex(c.Type("self")))
    return c.Malformed("its input is not of complex frames");
  if (c.Bool("return_complex", false)) return c.Refuse("it makes a complex signal");
  const int64_t size = frames.size, half = size / 2 + 1, count = c.Extent("self", rank - 1);
  const int64_t bins = c.Extent("self", rank - 2);
  if (count < 1)
    return c.Refuse("its number of frames is not known before the model runs",
                    "give --input-shape");
  if (bins != half && bins != size) return c.Malformed("it has another number of bins");
  constexpr int64_t kMostFrames = int64_t{1} << 32, kMostSamples = int64_t{1} << 40;
  if (count > kMostFrames || c.Int("length", 1) > kMostSamples)
    return c.Malformed("its signal is absurd");
  if (!c.Affordable(2 * static_cast<double>(half) * static_cast<double>(size))) return;
  // [batch, bins, frames, 2] -> [batch, bins * 2, frames]
  std::string x = c.InAs("self", DataType::kFloat);
  if (rank == 2) x = c.Unsqueeze(x, {0});
  if (bins != half) x = c.Slice(x, 1, 0, half);
  x = c.builder().Reshape(c.builder().Transpose(x, {0, 1, 3, 2}), {0, 2 * half, count},
                          /*copy_zeros=*/true);
  // Bins but the first (and the middle one of an even size) stand for their mirror images too.
  const double factor = c.Bool("normalized", false) ? 1 / std::sqrt(static_cast<double>(size))
                                                    : 1 / static_cast<double>(size);
  std::vector<float> waves;
  for (int64_t k = 0; k < half; ++k) {
    const bool single = k == 0 || 2 * k == size;
    for (const bool sine : {false, true}) {
      for (int64_t n = 0; n < size; ++n) {
        const double angle =
            2 * std::numbers::pi * static_cast<double>((n * k) % size) / static_cast<double>(size);
        const double wave =
            sine ? (single ? 0 : -2 * std::sin(angle)) : (single ? 1 : 2) * std::cos(angle);
        waves.push_back(static_cast<float>(factor * wave));
      }
    }
  }
  std::string weight = c.model().Floats(waves, Ints{2 * half, 1, size});
  std::string window = Window(c, frames);
  if (window.empty()) {
    window = c.Expand(c.Number(DataType::kFloat, 1), {.sizes = {{.value = size}}});
  } else {
    weight = c.Add("Mul", {weight, window});
  }
  const Attributes overlap = {{"strides", Ints{frames.hop}}};
  std::string y = c.Add("ConvTranspose", {x, weight}, overlap);
  const std::string ones = c.Expand(c.Number(DataType::kFloat, 1),
                                    {.sizes = {{.value = 1}, {.value = 1}, {.value = count}}});
  const std::string squares = c.Reshape(c.Add("Mul", {window, window}), Ints{1, 1, size});
  std::string weights = c.Add("ConvTranspose", {ones, squares}, overlap);
  const int64_t all = size + frames.hop * (count - 1);
  const int64_t start = c.Bool("center", true) ? size / 2 : 0;
  const int64_t end = c.Has("length") ? start + c.Int("length", 0)
                                      : (c.Bool("center", true) ? all - size / 2 : all);
  if (end <= start) return c.Malformed("its signal is empty");
  if (start != 0 || end < all) {
    y = c.Slice(y, 2, start, std::min(end, all));
    weights = c.Slice(weights, 2, start, std::min(end, all));
  }
  y = c.Add("Div", {y, weights});
  if (end > all) y = c.Add("Pad", {y, c.Ints64({0, 0, 0, 0, 0, end - all})});
  c.Out(c.Squeeze(y, rank == 2 ? Ints{0, 1} : Ints{1}), DataType::kFloat);
}

}  // namespace

void RegisterPt2Operators_short_time_fourier(OperatorRegistry& registry) {
  registry.Add("aten.stft", Stft);
  registry.Add("aten.istft", InverseStft);
}

}  // namespace modelpress::pt2
