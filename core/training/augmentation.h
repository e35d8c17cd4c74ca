// Random variants of images, for training.
#pragma once

#include <cstdint>
#include <span>

#include "core/data/random.h"
#include "core/model/tensor.h"

namespace modelpress {

// float32 [N, channels, height, width] with at most 4 channels and at least 8 pixels each way.
bool IsImage(const Tensor& tensor);

// One image [channels, height, width] shifted by up to a tenth, scaled by up to a tenth, turned by up to 12 degrees (each
// uniformly; bilinear, the border repeated) and with normal noise of a fiftieth of its range.
void AugmentImage(std::span<const float> image, std::span<float> result, int64_t channels,
                  int64_t height, int64_t width, Random& random);

}  // namespace modelpress
