// Random variants of images: see augmentation.h.
#include "core/training/augmentation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace modelpress {
namespace {

constexpr double kShift = 0.1, kScale = 0.1, kDegrees = 12, kNoise = 0.02;
constexpr int64_t kMostChannels = 4, kLeastPixels = 8;

// Uniform in [-1, 1).
double Uniform(Random& random) { return static_cast<double>(random.Next() >> 11) * 0x1p-52 - 1; }

}  // namespace

bool IsImage(const Tensor& tensor) {
  return tensor.type == DataType::kFloat && tensor.dims.size() == 4 &&
         tensor.dims[1] <= kMostChannels && tensor.dims[2] >= kLeastPixels &&
         tensor.dims[3] >= kLeastPixels;
}

void AugmentImage(std::span<const float> image, std::span<float> result, int64_t channels,
                  int64_t height, int64_t width, Random& random) {
  const double shift_y = kShift * static_cast<double>(height) * Uniform(random);
  const double shift_x = kShift * static_cast<double>(width) * Uniform(random);
  const double scale = 1 + kScale * Uniform(random);
  const double angle = kDegrees * std::numbers::pi / 180 * Uniform(random);
  const double cosine = std::cos(angle) / scale, sine = std::sin(angle) / scale;
  const double middle_y = static_cast<double>(height - 1) / 2;
  const double middle_x = static_cast<double>(width - 1) / 2;
  const auto [low, high] = std::ranges::minmax_element(image);
  const double noise = kNoise * (static_cast<double>(*high) - *low);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const double dy = static_cast<double>(y) - middle_y - shift_y;
      const double dx = static_cast<double>(x) - middle_x - shift_x;
      const double from_y = std::clamp(middle_y + cosine * dy - sine * dx, 0.0, 2 * middle_y);
      const double from_x = std::clamp(middle_x + sine * dy + cosine * dx, 0.0, 2 * middle_x);
      const auto y0 = static_cast<int64_t>(from_y), x0 = static_cast<int64_t>(from_x);
      const int64_t y1 = std::min(y0 + 1, height - 1), x1 = std::min(x0 + 1, width - 1);
      const double part_y = from_y - static_cast<double>(y0);
      const double part_x = from_x - static_cast<double>(x0);
      for (int64_t c = 0; c < channels; ++c) {
        const float* const plane = image.data() + c * height * width;
        const double top = plane[y0 * width + x0] * (1 - part_x) + plane[y0 * width + x1] * part_x;
        const double bottom =
            plane[y1 * width + x0] * (1 - part_x) + plane[y1 * width + x1] * part_x;
        const double value = top * (1 - part_y) + bottom * part_y + noise * random.Normal();
        result[(c * height + y) * width + x] =
            static_cast<float>(std::clamp<double>(value, *low, *high));
      }
    }
  }
}

}  // namespace modelpress
